"""The way to a worker over HTTP when the way is bad: what is tried again, what is not, and what is said.

The server is a script: for each connection in turn, the bytes that it answers with before it closes.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from e2b_magic.config import Configuration, Worker, WorkerToken
from e2b_magic.exceptions import OutcomeUnknownError, WorkerError
from e2b_magic.worker import http_caller
from e2b_magic.worker.caller import InProcessCaller, caller_for
from e2b_magic.worker.http_caller import HttpCaller
from e2b_magic.worker.protocol import Event, Output

RUN = {"type": "execute_command", "project_id": "web", "command": "ls"}
READ = {"type": "read_file", "project_id": "web", "path": "a"}
STALL = b"(stall)"
"""In a script: keep the connection open and say nothing more."""


def _head(status: str, **headers: str) -> bytes:
    return "\r\n".join(
        [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    ).encode()


def _stream(*lines: dict[str, Any]) -> bytes:
    return _head("200 OK", Connection="close") + b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _refusal(status: str, code: str, **headers: str) -> bytes:
    body = json.dumps({"success": False, "error": "the reason", "code": code, "timestamp": 0})
    return _head(status, **headers, **{"Content-Length": str(len(body))}) + body.encode()


OUTPUT = {"event": "output", "stream": "stdout", "text": "half\u2028line\n"}
DONE = {"event": "end", "envelope": {"success": True, "data": {"exit_code": 0}, "timestamp": 0}}


class Script:
    """A server that follows a script, the last line of which holds for all further connections."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.heads: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one connection."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b": 0")
            await reader.readexactly(int(length.split(b":")[1]))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            writer.write(answer.removesuffix(STALL))
            await writer.drain()
            if answer.endswith(STALL):
                await reader.read()
        finally:
            writer.close()

    @property
    def posts(self) -> int:
        """How many requests have come."""
        return sum(head.startswith(b"POST") for head in self.heads)


@asynccontextmanager
async def _serving(script: Script, bound: socket.socket | None = None) -> AsyncIterator[HttpCaller]:
    """Gives a caller of a server that follows a script, on a socket of its own or on one that is bound already."""
    server = await asyncio.start_server(script.serve, sock=bound or socket.create_server(("127.0.0.1", 0)))
    script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/base/"
    caller = HttpCaller(Worker(script.url, WorkerToken("e2bw_token"), "cloud"))
    try:
        yield caller
    finally:
        await caller.close()
        server.close()
        await server.wait_closed()


async def _call(caller: HttpCaller, payload: dict[str, Any], seen: list[Event] | None = None) -> Any:
    async def emit(event: Event) -> None:
        (seen if seen is not None else []).append(event)

    return await caller.call(payload, emit)


async def test_events_and_the_envelope_arrive() -> None:
    """Lines are broken at newlines only, signs of life and unknown events pass unseen, the token is in the header."""
    script = Script(_stream({"event": "alive"}, {"event": "later", "x": 1}, OUTPUT, DONE))
    seen: list[Event] = []
    async with _serving(script) as caller:
        assert await _call(caller, RUN, seen) == DONE["envelope"]
    assert seen == [Output("stdout", "half\u2028line\n")]
    assert script.heads[0].startswith(b"POST /base/e2b-magic/worker/stream HTTP/1.1\r\n")
    assert b"\r\nAuthorization: token e2bw_token\r\n" in script.heads[0]


def test_the_configuration_chooses_the_way(tmp_path: Path) -> None:
    """A worker that is named is asked over HTTP; who has a key of one's own does the work here."""
    worker = Worker("https://hub.example/", WorkerToken("e2bw_token"))
    configuration = Configuration(directory=tmp_path, user="anna", worker=worker)
    assert isinstance(caller_for(configuration), HttpCaller)
    assert isinstance(caller_for(configuration.with_key("e2b_00c0ffee")), InProcessCaller)
    assert isinstance(caller_for(replace(configuration, worker=None)), InProcessCaller)


async def test_the_backend_has_this_clients_name() -> None:
    """What a worker attaches to is known by the name that this client has for it, so that it is known again."""
    attached = {"event": "attached", "sandbox_id": "s1", "backend": "other", "expires_at": 1.0, "created": True}
    seen: list[Any] = []
    async with _serving(Script(_stream(attached, DONE))) as caller:
        await _call(caller, RUN, seen)
    assert seen[0].backend == "cloud"


async def test_a_refused_connection_is_tried_again() -> None:
    """What was not sent is sent when the server is there; when it stays away, that is said, and nothing was done."""
    # Bound, so that the port is nobody else's, and refusing as long as nobody listens.
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    port = bound.getsockname()[1]
    caller = HttpCaller(Worker(f"http://127.0.0.1:{port}/", WorkerToken("e2bw_token")))
    with pytest.raises(WorkerError, match=f"127.0.0.1:{port} does not answer"):
        await _call(caller, RUN)
    await caller.close()
    caller = HttpCaller(Worker(f"http://127.0.0.1:{port}/", WorkerToken("e2bw_token")))
    calling = asyncio.create_task(_call(caller, RUN))
    await asyncio.sleep(0.2)
    async with _serving(Script(_stream(DONE)), bound):
        assert (await calling)["success"]
    await caller.close()


@pytest.mark.parametrize(
    "broken",
    [b"", b"HTTP/1.1 200", _stream(OUTPUT), _stream() + b'{"event": "outp', _stream() + b"[]\n", _stream() + b"{\n"],
    ids=["at once", "in the head", "in the stream", "in a line", "no event", "no JSON"],
)
async def test_a_broken_connection_is_not_tried_again_but_told(broken: bytes) -> None:
    """A command whose answer is lost may have run: it is sent once, and the outcome is said to be unknown."""
    script = Script(broken)
    async with _serving(script) as caller:
        with pytest.raises(OutcomeUnknownError, match="may or may not have been done"):
            await _call(caller, RUN)
    assert script.posts == 1


async def test_what_changes_nothing_is_asked_again() -> None:
    """Reading a file is repeated after a broken connection, after a busy server's answer, and no more than thrice."""
    busy = _refusal("429 Too Many", "rate_limit", **{"Retry-After": "0", "Connection": "close"})
    script = Script(b"", _stream(OUTPUT), busy, _stream(DONE))
    async with _serving(script) as caller:
        assert (await _call(caller, READ))["success"]
    assert script.posts == 4
    script = Script(b"")
    async with _serving(script) as caller:
        with pytest.raises(OutcomeUnknownError):
            await _call(caller, READ)
    assert script.posts == 4


async def test_a_busy_server_is_not_waited_for_without_end() -> None:
    """Who is asked to come back in an hour is told so now."""
    script = Script(_refusal("503 Unavailable", "rate_limit", **{"Retry-After": "3600", "Connection": "close"}))
    async with _serving(script) as caller:
        with pytest.raises(WorkerError, match="busy"):
            await _call(caller, READ)
    assert script.posts == 1


async def test_a_refused_command_has_its_reason_and_is_not_repeated() -> None:
    """A limit's answer is given as it is: whoever runs a command decides what to do."""
    script = Script(_refusal("429 Too Many", "rate_limit", **{"Retry-After": "0", "Connection": "close"}))
    async with _serving(script) as caller:
        assert (await _call(caller, RUN))["error"] == "the reason"
    assert script.posts == 1


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (_head("302 Found", Location="/login"), WorkerError, "refused the token"),
        (_head("403 Forbidden"), WorkerError, "refused the token"),
        (_head("404 Not Found"), WorkerError, "has no worker"),
        (_head("405 Not Allowed"), WorkerError, "status 405"),
        (_head("502 Bad Gateway"), OutcomeUnknownError, "answered 502"),
    ],
    ids=["moved", "forbidden", "missing", "not allowed", "gateway"],
)
async def test_other_answers_are_said_in_a_line(answer: bytes, error: type[Exception], says: str) -> None:
    """A server that is another, or that has another token, is named with what would be right."""
    script = Script(answer.replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
    async with _serving(script) as caller:
        with pytest.raises(error, match=says) as caught:
            await _call(caller, RUN)
    assert "\n" not in str(caught.value)
    assert "e2bw_token" not in str(caught.value)
    assert script.posts == 1


async def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that only seems to be there does not hold a command for ever."""
    monkeypatch.setattr(http_caller, "SILENCE", 0.3)
    async with _serving(Script(_stream(OUTPUT) + STALL)) as caller:
        with pytest.raises(OutcomeUnknownError):
            await _call(caller, RUN)


async def test_an_interrupt_does_not_wait_for_a_server_that_is_silent() -> None:
    """Cancelled, a call asks the server to end the work, and leaves when it does not answer."""
    script = Script(_stream(OUTPUT) + STALL)
    begun = asyncio.Event()

    async def emit(event: Event) -> None:
        begun.set()

    async with _serving(script) as caller:
        calling = asyncio.create_task(caller.call(RUN, emit))
        await begun.wait()
        calling.cancel()
        done, _ = await asyncio.wait([calling], timeout=10)
    assert done
    assert calling.cancelled()
    assert any(head.startswith(b"DELETE /base/e2b-magic/worker/stream/") for head in script.heads)
