"""The verbs on a project's sandbox itself: make, look at, keep longer, put to rest, copy, end.

Each takes the project's name, the current one when it is left out. What a server says of a sandbox is stored as well,
so that whoever looks next need not ask.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from e2b_magic.client.background import Job, OnEvent
from e2b_magic.client.orphans import Fate
from e2b_magic.client.sandbox_work import SandboxWork
from e2b_magic.client.verbs import Verbs
from e2b_magic.records import SandboxMetrics, SandboxState, Snapshot
from e2b_magic.worker.protocol import Emit
from e2b_magic.worker.requests.base import Request
from e2b_magic.worker.requests.sandboxes import (
    CreateSandbox,
    DeleteSnapshot,
    ExtendSandbox,
    ForkSandbox,
    GetSandboxMetrics,
    KillSandbox,
    ListSandboxes,
    ListSnapshots,
    PauseSandbox,
    ResumeSandbox,
    SandboxStatus,
    SetSandboxTimeout,
    SnapshotSandbox,
)

R = TypeVar("R", bound=Request)
T = TypeVar("T")
Do = Callable[[SandboxWork, R, Emit], Coroutine[Any, Any, T]]


def _given(template: str | None) -> dict[str, str]:
    return {} if template is None else {"template": template}


class SandboxVerbs(Verbs):
    """Looking after sandboxes."""

    def _job(
        self, do: Do[R, T], kind: type[R], project: str | None, on_event: OnEvent | None = None, **fields: Any
    ) -> Job[T]:
        target = self._work.target({"project": project or self.project})
        request, work = kind(**(target | fields)), SandboxWork(self._work)
        return self._submit(lambda emit: do(work, request, emit), on_event)

    def get_sandbox_status(self, project: str | None = None) -> SandboxState:
        """Gives the state of a project's sandbox, as its server sees it; makes none."""
        return self._job(SandboxWork.state, SandboxStatus, project).wait()

    async def aget_sandbox_status(self, project: str | None = None) -> SandboxState:
        """Does what `get_sandbox_status` does."""
        return await self._job(SandboxWork.state, SandboxStatus, project).wait_async()

    def create_sandbox(
        self,
        project: str | None = None,
        *,
        template: str | None = None,
        replace: bool = False,
        on_event: OnEvent | None = None,
    ) -> SandboxState:
        """Makes a project's sandbox before anything is run in it, and gives its state.

        Args:
            project: The project's name; the current one when left out.
            template: The template, or the snapshot's id, that it is made from; when left out, what the project was made
                from before, or the configuration's.
            replace: Whether one that the project has is ended first, files and all.
            on_event: Called with each piece of progress.

        Raises:
            InvalidRequestError: The project has a sandbox, and `replace` is not given.
            BackendError: No sandbox could be had.
        """
        return self._job(
            SandboxWork.state, CreateSandbox, project, on_event, **_given(template), replace_existing=replace
        ).wait()

    async def acreate_sandbox(
        self,
        project: str | None = None,
        *,
        template: str | None = None,
        replace: bool = False,
        on_event: OnEvent | None = None,
    ) -> SandboxState:
        """Does what `create_sandbox` does."""
        return await self._job(
            SandboxWork.state, CreateSandbox, project, on_event, **_given(template), replace_existing=replace
        ).wait_async()

    def pause_sandbox(self, project: str | None = None) -> SandboxState:
        """Puts a project's sandbox to rest, its files kept, until it is resumed or used; gives its state.

        Raises:
            InvalidRequestError: The project has no sandbox.
        """
        return self._job(SandboxWork.state, PauseSandbox, project).wait()

    async def apause_sandbox(self, project: str | None = None) -> SandboxState:
        """Does what `pause_sandbox` does."""
        return await self._job(SandboxWork.state, PauseSandbox, project).wait_async()

    def resume_sandbox(self, project: str | None = None, *, on_event: OnEvent | None = None) -> SandboxState:
        """Wakes a project's sandbox and gives its state; one that runs goes on.

        Raises:
            InvalidRequestError: The project has no sandbox.
        """
        return self._job(SandboxWork.state, ResumeSandbox, project, on_event).wait()

    async def aresume_sandbox(self, project: str | None = None, *, on_event: OnEvent | None = None) -> SandboxState:
        """Does what `resume_sandbox` does."""
        return await self._job(SandboxWork.state, ResumeSandbox, project, on_event).wait_async()

    def extend_sandbox(self, seconds: float, project: str | None = None) -> SandboxState:
        """Lets a project's sandbox live at least so many seconds from now, and gives its state; never shortens.

        Raises:
            InvalidRequestError: The project has no sandbox that runs, or nobody may ask for so long.
        """
        return self._job(SandboxWork.state, ExtendSandbox, project, seconds=seconds).wait()

    async def aextend_sandbox(self, seconds: float, project: str | None = None) -> SandboxState:
        """Does what `extend_sandbox` does."""
        return await self._job(SandboxWork.state, ExtendSandbox, project, seconds=seconds).wait_async()

    def set_sandbox_timeout(self, seconds: float, project: str | None = None) -> SandboxState:
        """Has a project's sandbox end so many seconds from now, and after each later use; gives its state.

        The time is the project's from now on: it holds after a restart, and for its next sandbox.

        Raises:
            InvalidRequestError: The project has no sandbox that runs, or nobody may ask for so long.
        """
        return self._job(SandboxWork.set_timeout, SetSandboxTimeout, project, seconds=seconds).wait()

    async def aset_sandbox_timeout(self, seconds: float, project: str | None = None) -> SandboxState:
        """Does what `set_sandbox_timeout` does."""
        return await self._job(SandboxWork.set_timeout, SetSandboxTimeout, project, seconds=seconds).wait_async()

    def fork_sandbox(self, to: str, project: str | None = None, *, on_event: OnEvent | None = None) -> SandboxState:
        """Gives another project a copy of a project's sandbox as it is now, and gives the copy's state.

        Args:
            to: The other project's name; it must have no sandbox yet.
            project: The project whose sandbox is copied; the current one when left out.
            on_event: Called with each piece of progress.

        Raises:
            InvalidRequestError: The project has no sandbox, or the other one has.
        """
        return self._job(SandboxWork.state, ForkSandbox, project, on_event, to=to).wait()

    async def afork_sandbox(
        self, to: str, project: str | None = None, *, on_event: OnEvent | None = None
    ) -> SandboxState:
        """Does what `fork_sandbox` does."""
        return await self._job(SandboxWork.state, ForkSandbox, project, on_event, to=to).wait_async()

    def kill_sandbox(self, project: str | None = None) -> list[str]:
        """Ends a project's sandbox, its files with it, and gives the ids of those that were ended."""
        return self._job(SandboxWork.kill, KillSandbox, project).wait()

    async def akill_sandbox(self, project: str | None = None) -> list[str]:
        """Does what `kill_sandbox` does."""
        return await self._job(SandboxWork.kill, KillSandbox, project).wait_async()

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

    def kill_orphans(self, *, everywhere: bool = False) -> list[SandboxState]:
        """Ends the sandboxes that `list_orphans` gives, and gives them."""
        return self._collecting(SandboxWork.kill_orphans, everywhere).wait()

    def _collecting(
        self, do: Callable[..., Coroutine[Any, Any, list[SandboxState]]], everywhere: bool
    ) -> Job[list[SandboxState]]:
        fates = (Fate.ORPHAN, Fate.STRAY) if everywhere else (Fate.ORPHAN,)

        def collect(work: SandboxWork, request: ListSandboxes, emit: Emit) -> Coroutine[Any, Any, list[SandboxState]]:
            return do(work, request, emit, *fates)

        return self._job(collect, ListSandboxes, None)

    def get_sandbox_metrics(self, project: str | None = None) -> list[SandboxMetrics]:
        """Gives what a project's sandbox used of processor, memory and disk, oldest first.

        Raises:
            InvalidRequestError: The project has no sandbox.
        """
        return self._job(SandboxWork.metrics, GetSandboxMetrics, project).wait()

    async def aget_sandbox_metrics(self, project: str | None = None) -> list[SandboxMetrics]:
        """Does what `get_sandbox_metrics` does."""
        return await self._job(SandboxWork.metrics, GetSandboxMetrics, project).wait_async()

    def snapshot_sandbox(self, name: str = "", project: str | None = None) -> Snapshot:
        """Keeps a sandbox's present state, for others to be made from; gives the snapshot.

        Args:
            name: What it is called; the server's choice when left out.
            project: The project's name; the current one when left out.

        Raises:
            InvalidRequestError: The project has no sandbox, or the name cannot name a snapshot.
        """
        return self._job(SandboxWork.snapshot, SnapshotSandbox, project, name=name).wait()

    async def asnapshot_sandbox(self, name: str = "", project: str | None = None) -> Snapshot:
        """Does what `snapshot_sandbox` does."""
        return await self._job(SandboxWork.snapshot, SnapshotSandbox, project, name=name).wait_async()

    def list_snapshots(self) -> list[Snapshot]:
        """Gives every snapshot that there is."""
        return self._job(SandboxWork.list_snapshots, ListSnapshots, None).wait()

    def delete_snapshot(self, snapshot_id: str) -> bool:
        """Throws a snapshot away and says whether there was one."""
        return self._job(SandboxWork.delete_snapshot, DeleteSnapshot, None, snapshot_id=snapshot_id).wait()

    async def alist_orphans(self, *, everywhere: bool = False) -> list[SandboxState]:
        """Does what `list_orphans` does."""
        return await self._collecting(SandboxWork.orphans, everywhere).wait_async()

    async def akill_orphans(self, *, everywhere: bool = False) -> list[SandboxState]:
        """Does what `kill_orphans` does."""
        return await self._collecting(SandboxWork.kill_orphans, everywhere).wait_async()

    async def alist_snapshots(self) -> list[Snapshot]:
        """Does what `list_snapshots` does."""
        return await self._job(SandboxWork.list_snapshots, ListSnapshots, None).wait_async()

    async def adelete_snapshot(self, snapshot_id: str) -> bool:
        """Does what `delete_snapshot` does."""
        return await self._job(SandboxWork.delete_snapshot, DeleteSnapshot, None, snapshot_id=snapshot_id).wait_async()
