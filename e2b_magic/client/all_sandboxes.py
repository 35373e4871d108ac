"""The verbs on the sandboxes of all projects: list them, and end those that no project has."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from e2b_magic.client.background import Job
from e2b_magic.client.orphans import Fate
from e2b_magic.client.sandbox_jobs import SandboxJobs
from e2b_magic.client.sandbox_work import SandboxWork
from e2b_magic.records import SandboxState
from e2b_magic.worker.protocol import Emit
from e2b_magic.worker.requests.sandboxes import ListSandboxes


class AllSandboxesVerbs(SandboxJobs):
    """Looking over the sandboxes of all projects."""

    def list_sandboxes(self) -> list[SandboxState]:
        """Gives the sandboxes of all projects of this user on this host, paused ones included."""
        return self._job(SandboxWork.list_all, ListSandboxes, None).wait()

    async def alist_sandboxes(self) -> list[SandboxState]:
        """Does what `list_sandboxes` does."""
        return await self._job(SandboxWork.list_all, ListSandboxes, None).wait_async()

    def list_orphans(self, *, everywhere: bool = False) -> list[SandboxState]:
        """Gives the sandboxes that no project in the store has, that nobody who lives made, and that are not new.

        Args:
            everywhere: Give the strays too: those from other stores of this machine that are gone, or do not have them.
        """
        return self._collecting(SandboxWork.orphans, everywhere).wait()

    async def alist_orphans(self, *, everywhere: bool = False) -> list[SandboxState]:
        """Does what `list_orphans` does."""
        return await self._collecting(SandboxWork.orphans, everywhere).wait_async()

    def kill_orphans(self, *, everywhere: bool = False) -> list[SandboxState]:
        """Ends the sandboxes that `list_orphans` gives, and gives them."""
        return self._collecting(SandboxWork.kill_orphans, everywhere).wait()

    async def akill_orphans(self, *, everywhere: bool = False) -> list[SandboxState]:
        """Does what `kill_orphans` does."""
        return await self._collecting(SandboxWork.kill_orphans, everywhere).wait_async()

    def _collecting(
        self, do: Callable[..., Coroutine[Any, Any, list[SandboxState]]], everywhere: bool
    ) -> Job[list[SandboxState]]:
        fates = (Fate.ORPHAN, Fate.STRAY) if everywhere else (Fate.ORPHAN,)

        def collect(work: SandboxWork, request: ListSandboxes, emit: Emit) -> Coroutine[Any, Any, list[SandboxState]]:
            return do(work, request, emit, *fates)

        return self._job(collect, ListSandboxes, None)
