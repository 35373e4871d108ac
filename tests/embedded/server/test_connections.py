"""Connections that idle: how long, how many, and that what makes requests is not hurt."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from e2b import Sandbox
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from e2b_magic.embedded import runtime
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.endpoint import Endpoint
from e2b_magic.embedded.server import application
from e2b_magic.embedded.server.connection_bounds import ConnectionBounds
from e2b_magic.embedded.server.daemon import Server
from e2b_magic.embedded.server.sandboxes import Sandboxes

HEADER_TIMEOUT = 0.3
REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


_seen: list[tuple[bytes, bytes]] = []


async def _answer_slowly(scope: Scope, receive: Receive, send: Send) -> None:
    _seen.extend(scope["headers"])
    await asyncio.sleep(2 * HEADER_TIMEOUT if scope["path"] == "/slow" else 0)
    await PlainTextResponse("here")(scope, receive, send)


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[], Any]]:
    """Gives a function that connects to a server of five connections, three of them idle, whose headers come soon."""
    server = Server(_answer_slowly, ConnectionBounds(5, 3, HEADER_TIMEOUT))
    listening = socket.create_server(("127.0.0.1", 0))
    await server.start(listening)
    streams: list[Stream] = []

    async def connecting() -> Stream:
        streams.append(await asyncio.open_connection(*listening.getsockname()))
        return streams[-1]

    yield connecting
    for _, writer in streams:
        writer.close()
    await server.stop()


async def _ask(stream: Stream, request: bytes = REQUEST) -> bytes:
    stream[1].write(request)
    async with asyncio.timeout(5):
        return (await stream[0].readuntil(b"here"))[-4:]


async def _is_closed(stream: Stream, within: float) -> bool:
    try:
        async with asyncio.timeout(within):
            return await stream[0].read(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:  # what was still sent met a closed one
        return True


async def test_a_connection_that_says_nothing_is_closed(connect: Callable[[], Any]) -> None:
    """Without a header the connection is closed in time, and not sooner."""
    stream = await connect()
    assert not await _is_closed(stream, HEADER_TIMEOUT / 2)
    assert await _is_closed(stream, 5)


async def test_one_connection_too_many_is_refused(connect: Callable[[], Any]) -> None:
    """When all have a request under way, one more is told that there is no room; when one idles, it yields."""
    busy = []
    for number in range(5):
        busy.append(await connect())
        busy[-1][1].write(b"GET /slow HTTP/1.1\r\nhost: x\r\nnumber: %d\r\n\r\n" % number)
        while (b"number", b"%d" % number) not in _seen:  # noqa: ASYNC110 - the server is in this very loop
            await asyncio.sleep(0)
    refused = await connect()
    async with asyncio.timeout(5):
        assert (await refused[0].read()).startswith(b"HTTP/1.1 503 ")
        answers = [await stream[0].readuntil(b"here") for stream in busy]
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    assert await _ask(await connect()) == b"here"


async def test_a_header_a_byte_at_a_time_has_the_same_deadline(connect: Callable[[], Any]) -> None:
    """Bytes that trickle in do not put the deadline off, for a second request's header neither."""
    first, second = await connect(), await connect()
    assert await _ask(second) == b"here"
    for byte in REQUEST[:10]:
        for _, writer in (first, second):
            writer.write(bytes([byte]))
        await asyncio.sleep(HEADER_TIMEOUT / 5)
    assert await _is_closed(first, 1)
    assert await _is_closed(second, 1)


async def test_what_made_a_request_is_kept(connect: Callable[[], Any]) -> None:
    """A connection outlives the deadline between two requests, and a request may take longer than it."""
    stream = await connect()
    assert await _ask(stream) == b"here"
    await asyncio.sleep(2 * HEADER_TIMEOUT)
    assert await _ask(stream, REQUEST.replace(b"/ ", b"/slow ")) == b"here"
    assert await _ask(stream, REQUEST * 2) == b"here"


async def test_the_oldest_that_asked_nothing_makes_room(connect: Callable[[], Any]) -> None:
    """Too many idle connections cost the oldest that never made a request, then that which idles longest."""
    used, unused = await connect(), await connect()
    assert await _ask(used) == b"here"
    others = [await connect(), await connect()]
    assert await _is_closed(unused, HEADER_TIMEOUT / 2)
    assert [await _ask(other) for other in others] == [b"here", b"here"]
    new = await connect()
    assert await _is_closed(used, HEADER_TIMEOUT / 2)
    assert await _ask(new) == b"here"


async def test_a_request_under_way_makes_no_room(connect: Callable[[], Any]) -> None:
    """However many connections come, one with a request under way is not closed."""
    busy = await connect()
    asking = asyncio.ensure_future(_ask(busy, REQUEST.replace(b"/ ", b"/slow ")))
    await asyncio.sleep(HEADER_TIMEOUT / 5)
    for _ in range(10):
        await connect()
    assert await asking == b"here"


async def _fail_afterwards(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("here")(scope, receive, send)
    raise ValueError("after the answer")


async def test_a_failure_after_the_answer_breaks_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails once the whole answer is out costs the connection's next request nothing."""
    monkeypatch.setattr(application, "Routing", lambda *_: _fail_afterwards)
    none = cast(Sandboxes, SimpleNamespace(limits=Limits(), templates=None))
    server = Server(application.Application(none, "key"), ConnectionBounds(100, 3))
    listening = socket.create_server(("127.0.0.1", 0))
    await server.start(listening)
    stream = await asyncio.open_connection(*listening.getsockname())
    assert [await _ask(stream), await _ask(stream)] == [b"here", b"here"]
    stream[1].close()
    await server.stop()


@pytest.mark.sandbox
def test_a_flood_of_connections_costs_no_sandbox(
    tmp_path: Path, options_for: Callable[[Endpoint], dict[str, Any]]
) -> None:
    """A server started where 100 descriptors are allowed takes more, and serves its sandboxes with 300 connections."""
    start = (
        "import resource, sys; from pathlib import Path; from e2b_magic.embedded.runtime import ensure;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]));"
        "ensure(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", start, str(tmp_path)], check=True, timeout=60)
    endpoint = runtime.ensure(tmp_path)
    flood: list[socket.socket] = []
    try:
        sandbox = Sandbox.create(**options_for(endpoint))
        flood.extend(socket.create_connection(("127.0.0.1", endpoint.port)) for _ in range(300))
        sandbox.files.write("file", "content")
        assert sandbox.files.read("file") == "content"
    finally:
        for connection in flood:
            connection.close()
        runtime.stop(tmp_path)
