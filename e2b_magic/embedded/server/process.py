"""E2B's process service: starts processes in a sandbox, streams what they write and feeds what they read.

The service is a thin layer of translation: requests into calls on the sandbox's `Processes`, a `Listener` into a
stream of events with signs of life in between.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from e2b.envd.process import process_connect
from e2b.envd.process.process_pb import (
    CloseStdinRequest,
    CloseStdinResponse,
    ConnectRequest,
    ConnectResponse,
    ListRequest,
    ListResponse,
    ProcessEvent,
    ProcessInput,
    SendInputRequest,
    SendInputResponse,
    SendSignalRequest,
    SendSignalResponse,
    Signal,
    StartRequest,
    StartResponse,
    StreamInputRequest,
    StreamInputResponse,
    UpdateRequest,
    UpdateResponse,
)
from protobuf import Oneof

from e2b_magic.embedded.sandbox.sandbox import Sandbox
from e2b_magic.embedded.server.callers import keepalive_of, timeout_of, user_of
from e2b_magic.embedded.server.events import KEEPALIVE, start_event
from e2b_magic.embedded.server.output import Listener
from e2b_magic.embedded.server.protocol_errors import as_connect_errors
from e2b_magic.embedded.server.running import Processes, RunningProcess

Context = RequestContext[Any, Any]


class ProcessService(process_connect.Process):
    """The process service of one sandbox.

    Args:
        contained: The sandbox.
        processes: Its processes.
    """

    def __init__(self, contained: Sandbox, processes: Processes) -> None:
        self._contained = contained
        self._processes = processes

    async def start(self, request: StartRequest, ctx: Context, /) -> AsyncIterator[StartResponse]:
        """Starts a process and follows it; the call's timeout is also the process's lifetime."""
        process = await self._spawn(request, user_of(ctx))
        listener = process.listen()
        self._processes.add(process)
        lifetime = timeout_of(ctx)
        if lifetime is not None:
            self._processes.limit(process, lifetime)
        async for event in _follow(process, listener, keepalive_of(ctx)):
            if process.expired and event.event is not None and event.event.field == "end":
                raise ConnectError(Code.DEADLINE_EXCEEDED, "the process was killed: its timeout is over")
            yield StartResponse(event=event)

    async def connect(self, request: ConnectRequest, ctx: Context, /) -> AsyncIterator[ConnectResponse]:
        """Follows a process from now on; the call's timeout bounds the stream alone."""
        process = self._processes.find(request.process, ended=True)
        async for event in _follow(process, process.listen(), keepalive_of(ctx), timeout_of(ctx)):
            yield ConnectResponse(event=event)

    async def list(self, request: ListRequest, ctx: Context, /) -> ListResponse:
        """Lists the processes that run."""
        return ListResponse(processes=[process.info for process in self._processes])

    async def update(self, request: UpdateRequest, ctx: Context, /) -> UpdateResponse:
        """Changes the size of a process's terminal."""
        process = self._processes.find(request.process)
        size = request.pty.size if request.pty is not None else None
        if size is not None:
            if not process.terminal:
                raise ConnectError(Code.FAILED_PRECONDITION, f"process {process.pid} has no terminal to resize")
            with as_connect_errors():
                await self._contained.resize(process.pid, size.cols, size.rows)
        return UpdateResponse()

    async def send_input(self, request: SendInputRequest, ctx: Context, /) -> SendInputResponse:
        """Writes to a process's standard input or terminal."""
        await _feed(self._processes.find(request.process), request.input)
        return SendInputResponse()

    async def stream_input(self, request: AsyncIterator[StreamInputRequest], ctx: Context, /) -> StreamInputResponse:
        """Writes to one process for as long as the client's stream lasts."""
        process: RunningProcess | None = None
        async for message in request:
            match message.event:
                case Oneof(value=StreamInputRequest.StartEvent() as start):
                    process = self._processes.find(start.process)
                case Oneof(value=StreamInputRequest.DataEvent() as data):
                    if process is None:
                        raise ConnectError(Code.INVALID_ARGUMENT, "the stream must begin with a start event")
                    await _feed(process, data.input)
        return StreamInputResponse()

    async def send_signal(self, request: SendSignalRequest, ctx: Context, /) -> SendSignalResponse:
        """Sends SIGTERM or SIGKILL to a process, and to no child of it."""
        process = self._processes.find(request.process)
        if request.signal not in (Signal.SIGTERM, Signal.SIGKILL):
            raise ConnectError(Code.UNIMPLEMENTED, "only SIGTERM and SIGKILL can be sent")
        with as_connect_errors():
            if request.signal == Signal.SIGKILL:
                await self._processes.kill(process)
            else:
                await self._processes.signal(process, int(request.signal))
        return SendSignalResponse()

    async def close_stdin(self, request: CloseStdinRequest, ctx: Context, /) -> CloseStdinResponse:
        """Closes a process's standard input."""
        process = self._processes.find(request.process)
        if process.terminal:
            # E2B's server answers `unknown` here, and the SDKs' tests count on it.
            raise ConnectError(Code.UNKNOWN, "a terminal's input cannot be closed: send Ctrl+D (0x04) instead")
        process.close_input()
        return CloseStdinResponse()

    async def _spawn(self, request: StartRequest, user: str) -> RunningProcess:
        config = request.process
        if config is None or not config.cmd:
            raise ConnectError(Code.INVALID_ARGUMENT, "the request names no command")
        size = request.pty.size if request.pty is not None else None
        terminal = (size.cols, size.rows) if size is not None else None
        with as_connect_errors():
            process = await self._contained.spawn(
                argv=[config.cmd, *config.args],
                envs=dict(config.envs),
                cwd=config.cwd or None,
                user=user,
                # Left out means yes, for clients from before the field was there.
                stdin=request.stdin if request.has_field("stdin") else True,
                terminal=terminal,
            )
        tag = request.tag if request.has_field("tag") else None
        return RunningProcess(process, config, tag, terminal=terminal is not None)


async def _feed(process: RunningProcess, given: ProcessInput | None) -> None:
    match given.input if given is not None else None:
        case Oneof(field="pty", value=bytes(data)) if process.terminal:
            await process.input.write(data)
        case Oneof(field="stdin", value=bytes(data)) if not process.terminal:
            await process.input.write(data)
        case Oneof(field=field):
            kind = "a terminal" if process.terminal else "no terminal"
            raise ConnectError(Code.FAILED_PRECONDITION, f"process {process.pid} has {kind}: {field} is not its input")


async def _follow(
    process: RunningProcess, listener: Listener, keepalive: float, allowed: float | None = None
) -> AsyncIterator[ProcessEvent]:
    """Gives a process's events to the end.

    Args:
        process: The process.
        listener: A listener to it, closed at the end.
        keepalive: Seconds of silence after which a sign of life is due.
        allowed: Seconds that it may take altogether; None for no limit.
    """
    deadline = float("inf") if allowed is None else time.monotonic() + allowed
    try:
        yield start_event(process.pid)
        while True:
            left = deadline - time.monotonic()
            try:
                event = await listener.next(min(keepalive, left))
            except TimeoutError:
                if left <= keepalive:
                    raise ConnectError(Code.DEADLINE_EXCEEDED, "the stream's timeout is over") from None
                event = KEEPALIVE
            if event is None:
                return
            yield event
    finally:
        listener.close()
