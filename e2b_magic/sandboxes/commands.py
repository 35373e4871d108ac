"""Running a command in a sandbox, and ending it for good.

The command runs until it exits, its time is over or its caller cancels. In the last two cases the whole of what it
started is ended: first SIGINT, as a terminal would send it, then SIGKILL. E2B's own kill reaches the one process it
started and leaves that one's children running (E2B#500), so a small script inside the sandbox looks for them.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from dataclasses import dataclass, field
from typing import Any

from e2b import AsyncCommandHandle, CommandExitException

from e2b_magic.exceptions import (
    CommandTimeoutError,
    E2BMagicError,
    SandboxGoneError,
    SandboxUnreachableError,
)
from e2b_magic.output import OutputBuffer
from e2b_magic.sandboxes.finishing import finishing, heed_cancellation, started, undone
from e2b_magic.sandboxes.lease import Lease
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.sandboxes.process_tree import signal_tree
from e2b_magic.sandboxes.sdk_errors import translating
from e2b_magic.worker.protocol import Emit, Output
from e2b_magic.worker.requests.commands import ExecuteCommand

_log = logging.getLogger(__name__)

GRACE = 0.8
"""How long an interrupted command may take to end by itself, in seconds; a prompt should be back within 2."""
ENDING = 1.7
"""How long ending a command may take in all, in seconds, before its caller is answered regardless."""
STARTING = 60
"""How long a sandbox may take to start a command, in seconds: the SDK's own bound."""
SILENCE = 30
"""After this many seconds without output the sandbox is asked whether it is alive (E2B#1128: streams that hang)."""
_PIECE = 64 * 1024  # bytes of input in one request


@dataclass(slots=True)
class Execution:
    """One command at work.

    Attributes:
        manager: Whose sandbox it is.
        lease: Where it runs.
        request: What was asked.
        emit: Where its output goes.
        stdout: What it wrote so far.
        stderr: What it complained of so far.
    """

    manager: SandboxManager
    lease: Lease
    request: ExecuteCommand
    emit: Emit
    stdout: OutputBuffer = field(default_factory=OutputBuffer)
    stderr: OutputBuffer = field(default_factory=OutputBuffer)
    _heard_at: float = 0.0

    async def run(self) -> dict[str, Any]:
        """Gives the command's `exit_code`, `stdout`, `stderr` and whether they are `truncated`.

        Raises:
            CommandTimeoutError: It ran longer than the request allows and was ended.
            SandboxGoneError: The sandbox ended under it.
        """
        heed_cancellation()
        handle = await self._start()
        # One task reads the end, and it is only ever waited for with asyncio.wait: to await it would hand a
        # cancellation on to the SDK's stream, and what the command still says while it is being ended would be lost.
        ended = started(_exit_code(handle))
        feeding = None if self.request.stdin is None else asyncio.create_task(self._feed(handle, self.request.stdin))
        try:
            async with asyncio.timeout(self.request.timeout):
                exit_code = await self._wait(ended)
        except TimeoutError:
            await self._end(handle, ended)
            raise CommandTimeoutError(
                f"The command ran longer than {self.request.timeout:g} s and was killed"
            ) from None
        except asyncio.CancelledError:
            await self._end(handle, ended)
            raise
        finally:
            if feeding is not None:
                feeding.cancel()
            ended.cancel()
        return {
            "exit_code": exit_code,
            "stdout": self.stdout.text(),
            "stderr": self.stderr.text(),
            "truncated": self.stdout.truncated or self.stderr.truncated,
        }

    async def _start(self) -> AsyncCommandHandle[None]:
        """Starts the command; one that is given up is ended once it has started, since only a known pid can be."""
        starting = started(self._send())
        in_time: set[asyncio.Task[Any]] = set()
        try:
            in_time, _ = await asyncio.wait([starting], timeout=STARTING)
        finally:
            if not in_time:
                await undone(starting, lambda: self._end_started(starting), ENDING)
        if not in_time:
            raise SandboxUnreachableError(f"The sandbox did not start the command within {STARTING:g} s")
        return starting.result()

    async def _end_started(self, starting: asyncio.Task[AsyncCommandHandle[None]]) -> None:
        if starting.cancelled() or starting.exception() is not None:
            return
        handle = starting.result()
        ended = started(_exit_code(handle))
        await self._end(handle, ended)
        ended.cancel()

    async def _send(self) -> AsyncCommandHandle[None]:
        # The SDK's own timeout is a second line only: it makes the server kill the command should we not be there to
        # do it. 0 lifts its default of 60 s.
        limit = 0 if self.request.timeout is None else self.request.timeout + 10
        # envd runs `bash -l -c TEXT`, and bash takes a text that begins with a dash for an option of its own.
        text = f" {self.request.command}" if self.request.command.startswith("-") else self.request.command
        with translating():
            return await self.lease.sandbox.commands.run(
                text,
                background=True,
                envs=self.request.envs,
                user=self.request.user,
                cwd=self.request.cwd,
                on_stdout=self._on_stdout,
                on_stderr=self._on_stderr,
                stdin=self.request.stdin is not None,
                timeout=limit,
                request_timeout=0,  # `STARTING` is kept here: the SDK takes a task more for that, under Python 3.11
                retain_output=False,
            )

    async def _feed(self, handle: AsyncCommandHandle[None], stdin: str) -> None:
        """Writes the request's input, which is in base64, as fast as the command reads it, and ends it."""
        content = base64.b64decode(stdin)
        try:
            with translating():
                for start in range(0, len(content), _PIECE):
                    await handle.send_stdin(content[start : start + _PIECE], request_timeout=0)
                await handle.close_stdin()
        except E2BMagicError as error:
            # As in a pipe: a command that reads no more, such as head, is no failure; how it ends is told elsewhere.
            _log.info("a command in %s did not read all of its input: %s", self.lease.sandbox_id, error)

    async def _on_stdout(self, text: str) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        self.stdout.append(text)
        await self.emit(Output("stdout", text))

    async def _on_stderr(self, text: str) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        self.stderr.append(text)
        await self.emit(Output("stderr", text))

    async def _wait(self, ended: asyncio.Task[int]) -> int:
        """Gives the exit code; meanwhile keeps the sandbox alive, and after a silence asks whether it still is."""
        loop = asyncio.get_running_loop()
        self._heard_at, extend_at = loop.time(), loop.time() + self.manager.lifetimes.interval(self.lease)
        while not ended.done():
            await asyncio.wait([ended], timeout=min(self._heard_at + SILENCE, extend_at) - loop.time())
            now = loop.time()
            if now >= extend_at:
                self.manager.lifetimes.extend(self.lease)
                extend_at = now + self.manager.lifetimes.interval(self.lease)
            if not ended.done() and now - self._heard_at >= SILENCE:
                await self._probe()
                self._heard_at = now
        return ended.result()

    async def _probe(self) -> None:
        with translating():
            if not await self.lease.sandbox.is_running(request_timeout=SILENCE):
                raise SandboxGoneError("The sandbox ended while the command ran; its files are lost")

    async def _end(self, handle: AsyncCommandHandle[None], ended: asyncio.Task[int]) -> None:
        """Ends the command and all that it started; what takes longer than `ENDING` seconds goes on by itself."""
        try:
            async with asyncio.timeout(ENDING):
                await finishing(self._signal(handle, ended))
        except (TimeoutError, E2BMagicError) as error:
            # The sandbox is slow to answer, or gone. The caller has to be told of the interruption itself.
            _log.warning("the interrupted command may still run in %s: %s", self.lease.sandbox_id, error)

    async def _signal(self, handle: AsyncCommandHandle[None], ended: asyncio.Task[int]) -> None:
        await signal_tree(self.lease.sandbox, handle.pid, "INT", self.request.user)
        await asyncio.wait([ended], timeout=GRACE)
        await signal_tree(self.lease.sandbox, handle.pid, "KILL", self.request.user)
        await asyncio.wait([ended], timeout=GRACE / 2)


async def _exit_code(handle: AsyncCommandHandle[None]) -> int:
    try:
        with translating():
            return (await handle.wait()).exit_code
    except CommandExitException as failed:
        return failed.exit_code


async def execute(manager: SandboxManager, request: ExecuteCommand, emit: Emit) -> dict[str, Any]:
    """Runs a request's command in its project's sandbox and gives what `Execution.run` gives.

    Raises:
        SandboxGoneError: The sandbox ended before or under the command, which is not run again by itself.
    """
    lease = await manager.lease(request, emit)
    try:
        return await Execution(manager, lease, request, emit).run()
    except (SandboxGoneError, SandboxUnreachableError) as error:
        manager.forget(lease)
        raise type(error)(
            f"{error}. The command is not run again by itself: its effects, if any, are unknown"
        ) from None
