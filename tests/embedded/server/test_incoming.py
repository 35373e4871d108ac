"""Bodies taken out of HTTP, and connections that go on with HTTP afterwards."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import h11
import httpx
import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from e2b_magic.embedded.server import incoming
from e2b_magic.embedded.server.connection_bounds import ConnectionBounds
from e2b_magic.embedded.server.connections import take_body
from e2b_magic.embedded.server.daemon import Server
from e2b_magic.embedded.server.protocol_errors import ProtocolError

Ask = Callable[..., Any]
_lost: list[str] = []


async def _count(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with how many bytes came and how they end, as the query says: taken, read, or left alone."""
    how = scope["query_string"]
    length, end, status = 0, b"", 200
    try:
        if how == b"taken" or how == b"slowly":
            async for block in take_body(scope).blocks():
                length, end = length + len(block), bytes(block[-5:])
                await asyncio.sleep(0.01 if how == b"slowly" else 0)
        elif how == b"begun":
            await anext(take_body(scope).blocks())
        elif how != b"refused":
            body = b"".join([chunk async for chunk in Request(scope, receive).stream()])
            length, end = len(body), body[-5:]
    except ProtocolError as error:
        status = error.status
    except ClientDisconnect:
        _lost.append(scope["query_string"].decode())
        return
    await PlainTextResponse(f"{length} {end!r}", status)(scope, receive, send)


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Gives a function that sends bytes over one connection, and gives the answers to as many requests as asked."""
    server = Server(_count, ConnectionBounds(5, 3))
    listening = socket.create_server(("127.0.0.1", 0))
    await server.start(listening)
    reader, writer = await asyncio.open_connection(*listening.getsockname())

    async def asking(data: bytes, answers: int = 1, method: bytes = b"POST") -> list[str]:
        writer.write(data)
        return [await _answer(reader, method) for _ in range(answers)]

    yield asking
    writer.close()
    await server.stop()


async def _answer(reader: asyncio.StreamReader, method: bytes) -> str:
    """Gives the status and the body of the next answer; `closed` where there is none."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    parser.send(h11.EndOfMessage())
    status, text = 0, b""
    async with asyncio.timeout(30):
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                if not (byte := await reader.read(1)):  # one by one: the next answer is not this parser's
                    return "closed"
                parser.receive_data(byte)
            elif isinstance(event, h11.InformationalResponse):
                return str(event.status_code)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                text += event.data
            else:
                return f"{status} {text.decode()}"


def _request(body: bytes, *, how: str = "taken", chunk: int = 0, path: str = "/files", more: bytes = b"") -> bytes:
    head = f"POST {path}?{how} HTTP/1.1\r\nhost: x\r\n".encode() + more
    if not chunk:
        return head + b"content-length: %d\r\n\r\n%s" % (len(body), body)
    parts = [body[at : at + chunk] for at in range(0, len(body), chunk)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return head + b"transfer-encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


LARGE = b"x" * (3 * incoming.BUFFER + 12_345) + b"end"


@pytest.mark.parametrize("how", ["taken", "slowly", "read", "refused", "begun"])
@pytest.mark.parametrize("chunk", [0, 65_536, 10_007])
async def test_whoever_reads_it_the_next_request_is_heard(ask: Ask, how: str, chunk: int) -> None:
    """A body that is taken, read through ASGI, left alone or left in the middle ends where it ends."""
    expected = "0 b''" if how in ("refused", "begun") else f"{len(LARGE)} b'xxend'"
    upload = _request(LARGE, how=how, chunk=chunk)
    assert await ask(upload) == [f"200 {expected}"]
    assert await ask(_request(b"small")) == ["200 5 b'small'"]
    assert await ask(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", method=b"GET") == ["200 0 b''"]


@pytest.mark.parametrize("chunk", [0, 3])
async def test_requests_may_follow_at_once(ask: Ask, chunk: int) -> None:
    """Several uploads and other requests sent together are answered in their order."""
    requests = [_request(b"a" * size, chunk=chunk) for size in (1, 700, 0, 5000)]
    other = _request(b"other", path="/other", how="read")
    assert await ask(b"".join([*requests, other, requests[0]]), 6) == [
        "200 1 b'a'",
        "200 700 b'aaaaa'",
        "200 0 b''",
        "200 5000 b'aaaaa'",
        "200 5 b'other'",
        "200 1 b'a'",
    ]


async def test_bytes_that_trickle_in_are_a_body(ask: Ask) -> None:
    """A body whose bytes come one by one, its framing too, is the same body."""
    request = _request(b"trickle", chunk=3)
    for at in range(len(request) - 1):
        await ask(request[at : at + 1], 0)
        await asyncio.sleep(0)
    assert await ask(request[-1:]) == ["200 7 b'ickle'"]


async def test_who_expects_a_hundred_gets_it(ask: Ask) -> None:
    """A client that waits to be told to go on is told."""
    request = _request(b"after", more=b"expect: 100-continue\r\n")
    assert await ask(request[:-5]) == ["100"]
    assert await ask(request[-5:]) == ["200 5 b'after'"]


async def test_an_old_client_gets_its_answer_and_the_end(ask: Ask) -> None:
    """HTTP/1.0, and `Connection: close`, end the connection after the answer."""
    request = _request(b"old").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert await ask(request, 2) == ["200 3 b'old'", "closed"]


async def test_a_broken_framing_ends_the_connection(ask: Ask) -> None:
    """What is no chunk is answered with 400, and nothing after it is taken for a request."""
    request = _request(b"", chunk=1).replace(b"0\r\n\r\n", b"nonsense\r\n\r\n") + _request(b"smuggled")
    assert await ask(request, 2) == ["400 0 b''", "closed"]


async def test_who_leaves_is_noticed() -> None:
    """A client that leaves in the middle of a body ends the reading of it."""
    _lost.clear()
    server = Server(_count, ConnectionBounds(5, 3))
    listening = socket.create_server(("127.0.0.1", 0))
    await server.start(listening)
    _, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(_request(LARGE)[:-1])
    await writer.drain()
    writer.close()
    async with asyncio.timeout(10):
        while not _lost:  # noqa: ASYNC110 - the server is in this very loop
            await asyncio.sleep(0.01)
    await server.stop()


async def test_a_slow_reader_makes_the_client_wait() -> None:
    """While nobody asks for the next block, no more is read than two buffers hold."""
    taken = asyncio.Event()

    async def stall(scope: Scope, receive: Receive, send: Send) -> None:
        blocks = take_body(scope).blocks()
        await anext(blocks)
        await taken.wait()
        await PlainTextResponse(str(sum([len(block) async for block in blocks])))(scope, receive, send)

    server = Server(stall, ConnectionBounds(5, 3))
    listening = socket.create_server(("127.0.0.1", 0))
    await server.start(listening)
    size = 64 * incoming.BUFFER
    sent = 0

    async def content() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(64):
            yield bytes(incoming.BUFFER)
            sent += incoming.BUFFER

    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/files"
        sending = asyncio.ensure_future(client.post(url, content=content()))
        before = -1
        while before != sent or not sent:
            before = sent
            await asyncio.sleep(0.3)
        # The two buffers, and what the kernel's own hold of a connection (tcp(7), tcp_rmem and tcp_wmem).
        assert sent < 24 * incoming.BUFFER < size
        taken.set()
        assert int((await sending).text) > size - 3 * incoming.BUFFER
    await server.stop()
