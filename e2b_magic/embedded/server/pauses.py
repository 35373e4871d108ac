"""The paused sandboxes, and how they come to be so and go on.

A sandbox is paused with its processes, which are frozen as they stand for as long as the server lives; or with its
files alone. Of either kind a file tells (`record`), so that a later server finds its files. Whoever pauses or resumes
a sandbox holds its lock, `Record.changing`; who comes second finds what the first has made of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from e2b_magic.embedded.containment.freezing import FreezeError
from e2b_magic.embedded.containment.removal import remove_state
from e2b_magic.embedded.sandbox.sandbox import AgentError
from e2b_magic.embedded.server.blocking import in_thread
from e2b_magic.embedded.server.live import LiveSandbox
from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.record import Record

if TYPE_CHECKING:
    from e2b_magic.embedded.server.sandboxes import Sandboxes

# Seconds in which an agent answers that is well; and one that was frozen, which may have to be read back from swap, and
# whose processes would be lost.
_HEALTH_TIMEOUT, _RETURN_TIMEOUT = 5.0, 30.0

_log = logging.getLogger(__name__)


class Pauses:
    """The paused ones of a register's sandboxes.

    Args:
        sandboxes: The register.
    """

    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes
        # What is frozen of it; None where there are files alone.
        self._paused: dict[str, LiveSandbox | None] = {}

    @property
    def frozen(self) -> int:
        """How many are paused with their processes."""
        return sum(sandbox is not None for sandbox in self._paused.values())

    def add(self, record: Record) -> None:
        """Enters one that was paused by an earlier server."""
        self._paused[record.id] = None

    async def pause(self, record: Record, *, memory: bool = True, healthy: bool = False) -> None:
        """Pauses a sandbox.

        Args:
            record: Which.
            memory: Whether its processes are kept.
            healthy: Whether its agent must answer.

        Raises:
            ProtocolError: It is paused already, is gone, is not well, or cannot be frozen or kept.
        """
        async with record.changing:
            sandbox = self._sandboxes.get(record.id)
            if sandbox is None:
                if record.id in self._paused:
                    raise ProtocolError(409, f'sandbox "{record.id}" is paused already')
                raise self._sandboxes.missing(record.id)
            if healthy and not await _is_well(sandbox, _HEALTH_TIMEOUT):
                raise ProtocolError(503, f'sandbox "{record.id}" does not answer, and runs on')
            await self._pause(sandbox, memory=memory)

    async def pause_by_time(self, sandbox: LiveSandbox) -> bool:
        """Pauses a sandbox whose time is over, unless it was given more meanwhile; whether it need not be ended."""
        record = sandbox.record
        async with record.changing:
            late = asyncio.get_running_loop().time() >= sandbox.deadline
            if self._sandboxes.get(record.id) is not sandbox or not late:
                return True
            for memory in (True, False) if record.creation.auto_pause_memory else (False,):
                try:
                    await self._pause(sandbox, memory=memory)
                except ProtocolError as error:
                    kept = "with its processes" if memory else "at all"
                    _log.warning("sandbox %s cannot be paused %s: %s", record.id, kept, error)
                else:
                    return True
            return False

    async def _pause(self, sandbox: LiveSandbox, *, memory: bool) -> None:
        record = sandbox.record
        if memory:
            await hold_still(sandbox)
        try:
            await in_thread(record.keep)
        except OSError as error:
            await sandbox.contained.thaw()
            raise ProtocolError(507, f"the sandbox cannot be kept, and runs on: {error.strerror}") from error
        if self._sandboxes.get(record.id) is not sandbox:
            raise self._sandboxes.missing(record.id)  # killed meanwhile
        self._sandboxes.leave(sandbox)
        self._paused[record.id] = sandbox if memory else None
        record.state, record.ends_at = "paused", time.time()
        record.pause_mode = "full" if memory else "filesystem"
        record.log.add("sandbox paused", event="pause", mode=record.pause_mode)
        if memory:
            sandbox.processes.suspend()
        else:
            await _drop(sandbox)
        _log.info("sandbox %s paused (%s)", record.id, record.pause_mode)

    async def connect(self, record: Record, seconds: float, *, memory: bool = True) -> tuple[LiveSandbox, bool]:
        """Gives a sandbox that runs for at least so many seconds, and whether it had to be resumed for it.

        Args:
            record: Which.
            seconds: How long.
            memory: Whether it goes on with its processes, if they were kept; else it starts anew from its files.

        Raises:
            ProtocolError: It is gone, or does not start.
        """
        async with record.changing:
            sandbox = self._sandboxes.get(record.id)
            if sandbox is not None:
                self._sandboxes.extend(sandbox, seconds)
                return sandbox, False
            if record.id not in self._paused:
                raise self._sandboxes.missing(record.id)
            return await self._resume(record, seconds, memory=memory), True

    async def wake(self, sandbox_id: str) -> LiveSandbox | None:
        """Gives a sandbox that a request is for, resumed if its owner wants that; None where it does not run.

        One that has its files alone is not woken: to start anew is not what traffic may bring about (as with E2B).
        """
        record = self._sandboxes.record(sandbox_id)
        if record is None or not record.creation.auto_resume:
            return None
        async with record.changing:
            sandbox = self._sandboxes.get(sandbox_id)
            if sandbox is None and self._paused.get(sandbox_id) is not None:
                return await self._resume(record, record.creation.timeout, memory=True)
            return sandbox

    async def _resume(self, record: Record, seconds: float, *, memory: bool) -> LiveSandbox:
        frozen = self._paused[record.id]
        if frozen is not None and memory and await _goes_on(frozen):
            self._sandboxes.enter(frozen, seconds)
            frozen.processes.resume()
            sandbox = frozen
        else:
            if frozen is not None:
                self._paused[record.id] = None
                await _drop(frozen)
            sandbox = await self._sandboxes.start(record, seconds)
        del self._paused[record.id]
        # Last: should the server be killed before, its files are kept.
        try:
            await in_thread(record.forget)
        except OSError as error:
            _log.warning("what keeps sandbox %s cannot be removed: %s", record.id, error)
        return sandbox

    async def remove(self, record: Record) -> bool:
        """Ends a paused sandbox, its lock held, with all that is kept of it; whether it was paused."""
        if record.id not in self._paused:
            return False
        frozen = self._paused.pop(record.id)
        if frozen is not None:
            await _drop(frozen)
        await in_thread(remove_state, record.directory)
        return True

    async def close(self) -> None:
        """Ends the processes of all, and leaves their files."""
        frozen = [sandbox for sandbox in self._paused.values() if sandbox is not None]
        self._paused = dict.fromkeys(self._paused)
        await asyncio.gather(*map(_drop, frozen))


async def hold_still(sandbox: LiveSandbox) -> None:
    """Freezes a running sandbox.

    Raises:
        ProtocolError: It is gone, or this machine does not let the server do that.
    """
    try:
        await sandbox.contained.freeze()
    except FreezeError as error:
        raise ProtocolError(500, f"the sandbox cannot be frozen here, and runs on: {error}") from error
    except AgentError as error:
        raise ProtocolError(404, f'sandbox "{sandbox.id}" has just ended') from error


async def _goes_on(frozen: LiveSandbox) -> bool:
    """Lets a frozen sandbox go on; whether it does: what has lost its first process does not."""
    await frozen.contained.thaw()
    if await _is_well(frozen, _RETURN_TIMEOUT):
        return True
    _log.warning("sandbox %s did not go on as it stood, and starts anew from its files", frozen.id)
    return False


async def _is_well(sandbox: LiveSandbox, seconds: float) -> bool:
    try:
        await asyncio.wait_for(sandbox.contained.stat("/", "user"), seconds)
    except (AgentError, TimeoutError):
        return False
    return True


async def _drop(sandbox: LiveSandbox) -> None:
    """Ends what runs in a sandbox; its files stay."""
    sandbox.abandon()
    await sandbox.contained.kill()
