"""A shell on a terminal in a sandbox, for somebody to sit at."""

from __future__ import annotations

import asyncio
import codecs
from contextlib import suppress
from typing import Any

from e2b import AsyncCommandHandle, CommandExitException, PtySize

from e2b_magic.exceptions import E2BMagicError, InvalidRequestError, SandboxGoneError, SandboxUnreachableError
from e2b_magic.sandboxes.finishing import heed_cancellation
from e2b_magic.sandboxes.lease import Lease
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.sandboxes.process_tree import signal_tree
from e2b_magic.sandboxes.sdk_errors import translating
from e2b_magic.worker.protocol import Emit, Output
from e2b_magic.worker.requests.terminals import CloseTerminal, OpenTerminal, ResizeTerminal, SendInput


class Terminal:
    """A terminal that is open.

    Args:
        lease: Where it is.
        user: Whose shell it is inside the sandbox; the template's user when None.
        emit: Where what it shows goes.

    Attributes:
        ended: Whether the shell has ended by itself.
    """

    def __init__(self, lease: Lease, user: str | None, emit: Emit) -> None:
        self.lease = lease
        self._user = user
        self.handle: AsyncCommandHandle[Any] | None = None
        self.ended = False
        self._emit = emit
        # A character may be split between two pieces.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    async def show(self, piece: bytes) -> None:
        """Passes on what the terminal shows."""
        if text := self._decoder.decode(piece):
            await self._emit(Output("stdout", text))

    @property
    def pid(self) -> int:
        """The shell's process id."""
        if self.handle is None:
            raise InvalidRequestError("The terminal is not open yet: wait for what it shows")
        pid: int = self.handle.pid  # untyped in the SDK
        return pid

    async def close(self) -> None:
        """Ends the shell and all that it runs: what ignores the kernel's SIGHUP would stay."""
        if self.handle is not None:
            with suppress(E2BMagicError):  # the sandbox may be gone, and the shell with it
                await signal_tree(self.lease.sandbox, self.pid, "KILL", self._user)


async def run(manager: SandboxManager, request: OpenTerminal, emit: Emit) -> dict[str, Any]:
    """Runs a shell and gives its exit code.

    Raises:
        SandboxGoneError: The sandbox ended under it.
    """
    if request.terminal in manager.kept:
        raise InvalidRequestError("There is such a terminal already: give each one an id of its own")
    lease = await manager.lease(request, emit)
    terminal = Terminal(lease, request.user, emit)
    manager.kept[request.terminal] = terminal
    try:
        exit_code = await _serve(manager, terminal, request)
    except (SandboxGoneError, SandboxUnreachableError):
        manager.forget(lease)
        raise
    else:
        terminal.ended = True
        return {"exit_code": exit_code}
    finally:
        del manager.kept[request.terminal]
        if not terminal.ended:
            await terminal.close()


async def _serve(manager: SandboxManager, terminal: Terminal, request: OpenTerminal) -> int:
    heed_cancellation()
    with translating():
        terminal.handle = await terminal.lease.sandbox.pty.create(
            PtySize(rows=request.rows, cols=request.columns),
            terminal.show,
            user=request.user,
            cwd=request.cwd,
            # Without it bash says its version: nobody sees whether it is the sandbox's shell or the own machine's.
            # Where a template brings a prompt of its own, that is set later, and stays.
            envs={"PS1": f"({request.project_id}) \\w\\$ "},
            timeout=0,
        )
        waiting = asyncio.create_task(_exit_code(terminal.handle))
        try:
            while not waiting.done():
                await asyncio.wait([waiting], timeout=manager.lifetimes.interval(terminal.lease))
                manager.lifetimes.extend(terminal.lease)
            return waiting.result()
        finally:
            waiting.cancel()


async def _exit_code(handle: AsyncCommandHandle[Any]) -> int:
    try:
        with translating():
            return (await handle.wait()).exit_code
    except CommandExitException as ended:
        return ended.exit_code


def _find(manager: SandboxManager, terminal_id: str) -> Terminal:
    found = manager.kept.get(terminal_id)
    if not isinstance(found, Terminal):
        raise InvalidRequestError("There is no such terminal: its shell has ended")
    return found


async def send_input(manager: SandboxManager, request: SendInput, emit: Emit) -> dict[str, Any]:
    """Types something."""
    terminal = _find(manager, request.terminal)
    with translating():
        await terminal.lease.sandbox.pty.send_stdin(terminal.pid, request.content)
    return {}


async def resize(manager: SandboxManager, request: ResizeTerminal, emit: Emit) -> dict[str, Any]:
    """Gives a terminal another size."""
    terminal = _find(manager, request.terminal)
    with translating():
        await terminal.lease.sandbox.pty.resize(terminal.pid, PtySize(rows=request.rows, cols=request.columns))
    return {}


async def close(manager: SandboxManager, request: CloseTerminal, emit: Emit) -> dict[str, Any]:
    """Hangs up."""
    await _find(manager, request.terminal).close()
    return {}
