"""Where new sandboxes come from: one that was started ahead, or else one that is started now.

A sandbox's start is the same whoever asks for it, but for its variables, which it is told last. So some are started
ahead, with the id that they will have; who creates a sandbox gets one of these, and another is started in its place:
a moment later, since a start holds others up. While it is put into its control groups the kernel lets no process begin
or end, anywhere, for some milliseconds each; and the first thing that a creator does is to have a process started.
They are in no list and count for nothing: not as sandboxes, and not as a reason for the server to live on. What cannot
be started ahead is not tried again until somebody asks, and who asks then is told why.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.containment.removal import remove_state
from e2b_magic.embedded.sandbox.sandbox import AgentError, Sandbox
from e2b_magic.embedded.server.blocking import in_thread
from e2b_magic.embedded.server.tokens import new_sandbox_id
from e2b_magic.exceptions import ContainmentError

# Seconds that a new sandbox has the machine to itself before another is started in its place.
REST = 0.05
# Seconds between two creations in which a start after that rest is not done: whoever is so quick has it begun at once.
QUICK = 0.1

_log = logging.getLogger(__name__)


class Pool:
    """New sandboxes, some of them started ahead.

    Args:
        directory: Where each keeps its files, in a directory of its own.
        launcher: What starts them.
        limits: What each may use.
        size: How many are to stand ready; 0 for none.
    """

    def __init__(self, directory: Path, launcher: Launcher, limits: Limits, size: int) -> None:
        self._directory = directory
        self._launcher = launcher
        self._limits = limits
        self._size = size
        self._ahead: deque[asyncio.Task[Sandbox]] = deque()
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        self._last_taken = float("-inf")

    def fill(self) -> None:
        """Starts as many as are missing, without waiting for them."""
        while not self._closed and len(self._ahead) < self._size:
            starting = asyncio.get_running_loop().create_task(self._start())
            self._ahead.append(starting)
            starting.add_done_callback(self._started)

    async def new(self, environment: Callable[[str], Mapping[str, str]], tree: Path | None = None) -> Sandbox:
        """Gives a sandbox that nobody had before.

        Args:
            environment: Gives the variables of its processes, by its id.
            tree: The root file system that it gets; None for the host's. Only of these some stand ready.

        Raises:
            ContainmentError: This machine cannot contain it.
        """
        ahead = await self._take() if tree is None else None
        sandbox = ahead or await self._start(tree)
        self._fill_soon()
        try:
            await sandbox.set_environment(environment(sandbox.sandbox_id))
        except AgentError as error:
            await _remove(sandbox)
            raise ContainmentError(f"A sandbox ended as soon as it had started: {error.message}.") from error
        except BaseException:
            await _remove(sandbox)
            raise
        return sandbox

    def _fill_soon(self) -> None:
        """Starts as many as are missing: when whoever has just got one has begun to use it."""
        loop = asyncio.get_running_loop()
        quick = loop.time() - self._last_taken < QUICK
        self._last_taken = loop.time()
        loop.call_later(0 if quick else REST, self.fill)

    async def start_on(self, directory: Path, environment: Mapping[str, str], tree: Path | None) -> Sandbox:
        """Starts a sandbox on files that are there already, which stay if it does not start.

        Args:
            directory: Where they are; its name is the sandbox's id.
            environment: The variables of its processes.
            tree: The root file system that it gets; None for the host's.

        Raises:
            ContainmentError: This machine cannot contain it.
        """
        return await Sandbox.start(
            sandbox_id=directory.name,
            directory=directory,
            envs=environment,
            limits=self._limits,
            launcher=self._launcher,
            tree=tree,
        )

    async def close(self) -> None:
        """Ends those that stand ready, and starts none any more."""
        self._closed = True
        for starting in self._ahead:
            starting.cancel()
            self._end(starting)
        self._ahead.clear()
        while self._ending:
            await asyncio.wait(set(self._ending))

    async def _take(self) -> Sandbox | None:
        """Gives one that was started ahead, or is just being; None when there is none that lives."""
        while self._ahead:
            starting = self._ahead.popleft()
            try:
                sandbox = await asyncio.shield(starting)
            except asyncio.CancelledError:
                self._end(starting)
                raise
            except (ContainmentError, OSError):
                return None  # logged where it happened; who asks finds out for himself, and no other is tried first
            if not sandbox.ended.done():
                return sandbox
            self._end(starting)
        return None

    async def _start(self, tree: Path | None = None) -> Sandbox:
        sandbox_id = new_sandbox_id()
        directory = self._directory / sandbox_id
        try:
            return await Sandbox.start(
                sandbox_id=sandbox_id,
                directory=directory,
                envs={},
                limits=self._limits,
                launcher=self._launcher,
                tree=tree,
            )
        except BaseException:
            await in_thread(remove_state, directory)
            raise

    def _started(self, starting: asyncio.Task[Sandbox]) -> None:
        if starting.cancelled():
            return
        if (error := starting.exception()) is not None:
            _log.warning("no sandbox could be started ahead: %s", error)
            self._forget(starting)
        else:
            # One that dies while nobody has it leaves nothing.
            starting.result().ended.add_done_callback(lambda _: self._forget(starting))

    def _forget(self, starting: asyncio.Task[Sandbox]) -> None:
        if starting in self._ahead:
            self._ahead.remove(starting)
            self._end(starting)

    def _end(self, starting: asyncio.Task[Sandbox]) -> None:
        """Ends one that nobody will have, as soon as it has started."""
        ending = asyncio.get_running_loop().create_task(_remove_when_started(starting))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


async def _remove_when_started(starting: asyncio.Task[Sandbox]) -> None:
    await asyncio.wait({starting})
    if not starting.cancelled() and starting.exception() is None:
        await _remove(starting.result())


async def _remove(sandbox: Sandbox) -> None:
    await sandbox.kill()
    await in_thread(remove_state, sandbox.directory)
