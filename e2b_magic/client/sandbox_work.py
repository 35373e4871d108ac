"""What the verbs on sandboxes do on the background loop: a request goes out, a record comes back and is stored."""

from __future__ import annotations

import time
from dataclasses import dataclass

from e2b_magic.client.work import Work
from e2b_magic.records import SandboxMetrics, SandboxState, Snapshot
from e2b_magic.worker.protocol import Emit
from e2b_magic.worker.requests.base import Request
from e2b_magic.worker.requests.sandboxes import (
    DeleteSnapshot,
    GetSandboxMetrics,
    KillSandbox,
    ListSandboxes,
    ListSnapshots,
    SnapshotSandbox,
)

NEW = 60.0
"""A sandbox younger than this, in seconds, is no orphan: whoever makes it may not have stored its id yet."""


@dataclass(frozen=True, slots=True)
class SandboxWork:
    """What the verbs do on the background loop.

    Args:
        work: The client's road to its worker.
    """

    work: Work

    async def state(self, request: Request, emit: Emit) -> SandboxState:
        """Gives the state that a request is answered with, and stores it."""
        state = SandboxState.from_json(await self.work.call(request, emit))
        self.work.recorder.see(state)
        return state

    async def kill(self, request: KillSandbox, emit: Emit) -> list[str]:
        """Ends sandboxes and gives their ids."""
        killed: list[str] = (await self.work.call(request, emit))["killed"]
        known = self.work.recorder.known(request.project_id)
        if known is not None and request.only in ("", known.sandbox_id):
            self.work.recorder.detach(request.project_id)
        return killed

    async def list_all(self, request: ListSandboxes, emit: Emit) -> list[SandboxState]:
        """Gives the sandboxes of all projects."""
        return [SandboxState.from_json(one) for one in (await self.work.call(request, emit))["sandboxes"]]

    async def orphans(self, request: ListSandboxes, emit: Emit) -> list[SandboxState]:
        """Gives the sandboxes that no project in the store has."""
        states = await self.list_all(request, emit)
        recorder, now = self.work.recorder, time.time()
        owned = {project.sandbox_id for project in recorder.store.projects()}
        return [one for one in states if one.sandbox_id not in owned and now - one.started_at > NEW]

    async def kill_orphans(self, request: ListSandboxes, emit: Emit) -> list[SandboxState]:
        """Ends the sandboxes that no project in the store has, and gives them."""
        ended = []
        for one in await self.orphans(request, emit):
            killing = KillSandbox(project_id=one.project, sandbox_id=one.sandbox_id, only=one.sandbox_id)
            if (await self.work.call(killing, emit))["killed"]:
                ended.append(one)
        return ended

    async def metrics(self, request: GetSandboxMetrics, emit: Emit) -> list[SandboxMetrics]:
        """Gives what a sandbox used."""
        return [SandboxMetrics.from_json(one) for one in (await self.work.call(request, emit))["metrics"]]

    async def snapshot(self, request: SnapshotSandbox, emit: Emit) -> Snapshot:
        """Gives the snapshot that was taken."""
        return Snapshot.from_json(await self.work.call(request, emit))

    async def list_snapshots(self, request: ListSnapshots, emit: Emit) -> list[Snapshot]:
        """Gives every snapshot."""
        return [Snapshot.from_json(one) for one in (await self.work.call(request, emit))["snapshots"]]

    async def delete_snapshot(self, request: DeleteSnapshot, emit: Emit) -> bool:
        """Says whether there was such a snapshot."""
        return bool((await self.work.call(request, emit))["deleted"])
