"""TLS over a stream, both ways at once, to the end of each way."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
import trustme

from e2b_magic.embedded.egress.streams import Encrypted, Plain, Stream

SIZE = 3_000_000


async def _joined() -> tuple[Encrypted, Encrypted]:
    """Gives a client's and a server's end of a connection, keys being agreed on."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("end.test").configure_cert(server)
    authority.configure_trust(client)
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    one, other = Encrypted(Plain(ends[0]), client, "end.test"), Encrypted(Plain(ends[1]), server)
    await asyncio.gather(one.begin(), other.begin())
    return one, other


async def _all_of(stream: Stream) -> bytes:
    parts = []
    while part := await stream.receive(65536):
        parts.append(part)
    return b"".join(parts)


async def test_what_came_before_a_goodbye_is_kept() -> None:
    """A side that says goodbye while it has not taken all that came still gets it, and what comes after that."""
    one, other = await _joined()
    await other.send(b"early" * 1000)
    first = await one.receive(5)
    await one.finish()
    assert await _all_of(other) == b""
    await other.send(b"late")
    await other.finish()
    assert first + await _all_of(one) == b"early" * 1000 + b"late"
    one.close()
    other.close()


async def test_both_ways_at_once() -> None:
    """Much goes both ways at the same time, whole, and a goodbye said twice is one."""
    one, other = await _joined()

    async def say(stream: Stream, letter: bytes) -> None:
        await stream.send(letter * SIZE)
        await stream.finish()
        await stream.finish()

    _, _, told, asked = await asyncio.gather(say(one, b"a"), say(other, b"b"), _all_of(one), _all_of(other))
    assert (told, asked) == (b"b" * SIZE, b"a" * SIZE)
    await one.finish()
    one.close()
    other.close()


async def test_an_end_without_a_goodbye_is_none() -> None:
    """Where the connection beneath ends, and nothing said so in TLS, that is an error and not an end."""
    one, other = await _joined()
    await other.send(b"half")
    other.close()
    assert await one.receive(100) == b"half"
    with pytest.raises(OSError, match="EOF"):
        await one.receive(100)
    one.close()
