"""The verbs on copies of a project's sandbox: snapshots, and another project's fork."""

from __future__ import annotations

from e2b_magic.client.background import OnEvent
from e2b_magic.client.sandbox_jobs import SandboxJobs
from e2b_magic.client.sandbox_work import SandboxWork
from e2b_magic.records import SandboxState, Snapshot
from e2b_magic.worker.requests.sandboxes import DeleteSnapshot, ForkSandbox, ListSnapshots, SnapshotSandbox


class SnapshotVerbs(SandboxJobs):
    """Keeping a sandbox's state, and making others from it."""

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

    async def alist_snapshots(self) -> list[Snapshot]:
        """Does what `list_snapshots` does."""
        return await self._job(SandboxWork.list_snapshots, ListSnapshots, None).wait_async()

    def delete_snapshot(self, snapshot_id: str) -> bool:
        """Throws a snapshot away and says whether there was one."""
        return self._job(SandboxWork.delete_snapshot, DeleteSnapshot, None, snapshot_id=snapshot_id).wait()

    async def adelete_snapshot(self, snapshot_id: str) -> bool:
        """Does what `delete_snapshot` does."""
        return await self._job(SandboxWork.delete_snapshot, DeleteSnapshot, None, snapshot_id=snapshot_id).wait_async()

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
