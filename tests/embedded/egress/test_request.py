"""The head of a request, whatever is in it: understood, or refused in one line, and never anything else."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2b_magic.embedded.egress.destination import Destination
from e2b_magic.embedded.egress.exchange import read_message
from e2b_magic.embedded.egress.refusals import Refusal
from e2b_magic.embedded.egress.request import Request, read_inner_request, read_request
from e2b_magic.embedded.egress.streams import Plain

TOKENS = [
    *(b"CONNECT", b"GET", b"http://", b"https://", b"ok.test", b":80", b":", b"@", b"[", b"]", b"::1", b"/", b"?"),
    *(
        b" ",
        b"\r\n",
        b"\n",
        b"\0",
        b"\t",
        b"\xff",
        b"%00",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"0x7f.1",
        b"127.0.0.1",
        b"x" * 300,
    ),
    *(b"Host: a", b"Connection: Host", b"Transfer-Encoding: chunked", b"Content-Length: 5"),
]


def _read(said: bytes, limit: int = 2048, *, to: Destination | None = None) -> Request | Refusal | None:
    """Gives what is made of bytes that a client sends before it leaves: to the proxy, or to whom it stands in for."""

    async def read() -> Request | Refusal | None:
        ours, theirs = socket.socketpair()
        with closing(ours), closing(theirs):
            ours.setblocking(False)
            theirs.sendall(said)
            theirs.shutdown(socket.SHUT_WR)
            try:
                if to is not None:
                    return await read_inner_request(Plain(ours), to, limit=limit, timeout=20)
                return await read_request(Plain(ours), limit=limit, timeout=20)
            except Refusal as refusal:
                return refusal

    return asyncio.run(read())


@given(st.lists(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=8)), max_size=30))
def test_whatever_comes_is_a_request_or_a_refusal(parts: list[bytes]) -> None:
    """No bytes make the reader fail, and what it lets through is HTTP with a host that was read strictly."""
    read = _read(b"".join(parts) + b"\r\n\r\n")
    if isinstance(read, Refusal):
        assert read.response().isascii()
        assert 400 <= read.status < 500
    elif read is not None and not read.tunnel:
        try:
            message = read_message(read)
        except Refusal as refusal:
            read = refusal
        else:
            assert message.host.isascii()
            assert b" " not in message.host


@given(
    st.sampled_from([b"", b"GET /x HTTP/1.1\r\n", b"POST * HTTP/1.0\r\nHost: other.test\r\n"]),
    st.lists(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=8)), max_size=30),
)
def test_whatever_is_said_to_a_host_is_for_that_host(begun: bytes, parts: list[bytes]) -> None:
    """Where the server stands in for a host no bytes make it fail, and whatever `Host` says, that host is told."""
    read = _read(b"".join([begun, *parts, b"\r\n\r\n"]), to=Destination("ok.test", 443))
    if isinstance(read, Request):
        with suppress(Refusal):
            assert read_message(read).host == b"ok.test"


@pytest.mark.parametrize("target", ["ok.test:443", "http://other.test/", "other.test"])
def test_a_host_is_asked_for_paths_alone(target: str) -> None:
    """What a proxy takes, a tunnel or a whole URL, is refused where the server stands in for a host."""
    for start in (f"CONNECT {target}", f"GET {target}", "CONNECT /x"):
        refused = _read(f"{start} HTTP/1.1\r\nHost: ok.test\r\n\r\n".encode(), to=Destination("ok.test", 443))
        assert isinstance(refused, Refusal)
        assert refused.status == 400
    fine = _read(b"GET /x HTTP/1.1\r\nHost: other.test\r\n\r\n", to=Destination("ok.test", 8443))
    assert isinstance(fine, Request)
    assert read_message(fine).host == b"ok.test:8443"


@pytest.mark.parametrize("said", [b"", b"GET", b"CONNECT ok.test:80 HTTP/1.1\r\n\r"])
def test_a_client_that_leaves_early_is_not_answered(said: bytes) -> None:
    """Who leaves before a head is whole wants no answer."""
    assert _read(said) is None


def test_a_head_is_bounded() -> None:
    """A head that ends within the bound is read, and one byte more is not."""
    head = b"CONNECT ok.test:80 HTTP/1.1\r\nX: "
    fits = head + b"x" * (2048 - len(head) - 4) + b"\r\n\r\n"
    assert isinstance(_read(fits), Request)
    refused = _read(fits.replace(b"x\r\n", b"xx\r\n"))
    assert isinstance(refused, Refusal)
    assert refused.status == 431
