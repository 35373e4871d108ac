"""What the verbs on sandboxes do on the background loop: a request goes out, a record comes back and is stored."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from e2b_magic.client.orphans import Fate, Orphans
from e2b_magic.client.work import Work
from e2b_magic.exceptions import InvalidRequestError, StoreError
from e2b_magic.records import SandboxMetrics, SandboxState, Snapshot
from e2b_magic.worker.protocol import Emit
from e2b_magic.worker.requests.base import Request
from e2b_magic.worker.requests.sandboxes import (
    DeleteSnapshot,
    GetSandboxMetrics,
    KillSandbox,
    ListSandboxes,
    ListSnapshots,
    SetSandboxTimeout,
    SnapshotSandbox,
)


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

    async def set_timeout(self, request: SetSandboxTimeout, emit: Emit) -> SandboxState:
        """Gives the state of a sandbox whose time was set, and stores that time for whoever uses the project next."""
        state = await self.state(request, emit)
        self.work.recorder.keep_project(request.project_id, sandbox_timeout=math.ceil(request.seconds))
        return state

    async def kill(self, request: KillSandbox, emit: Emit) -> list[str]:
        """Ends sandboxes and gives their ids."""
        killed: list[str] = (await self.work.call(request, emit))["killed"]
        known = self.work.recorder.known(request.project_id)
        if known is not None and request.only in ("", known.sandbox_id):
            self.work.recorder.detach(request.project_id)
        return killed

    async def forget(self, request: KillSandbox, emit: Emit) -> list[str]:
        """Ends a project's sandboxes, gives their ids, and forgets the project."""
        known = self.work.recorder.known(request.project_id)
        here = self.work.configuration.backend
        if known is not None and known.sandbox_id and known.backend != here and known.sandbox_expires_at > time.time():
            raise InvalidRequestError(
                f"Project {request.project_id!r} has a sandbox on {known.backend}, which {here} cannot end: forget it "
                "from there, or when that sandbox's time is over"
            )
        killed = await self.kill(request, emit)
        self.work.recorder.forget_project(request.project_id)
        return killed

    async def list_all(self, request: ListSandboxes, emit: Emit) -> list[SandboxState]:
        """Gives the sandboxes of all projects."""
        return [SandboxState.from_json(one) for one in (await self.work.call(request, emit))["sandboxes"]]

    async def orphans(self, request: ListSandboxes, emit: Emit, *fates: Fate) -> list[SandboxState]:
        """Gives the sandboxes that are to meet one of some fates."""
        states = await self.list_all(request, emit)
        judge = self._judge()
        return [one for one in states if judge.judge(one) in fates]

    async def kill_orphans(self, request: ListSandboxes, emit: Emit, *fates: Fate) -> list[SandboxState]:
        """Ends the sandboxes that are to meet one of some fates, and gives them."""
        ended = []
        for one in await self.orphans(request, emit, *fates):
            # Judged anew: whoever began to use the project meanwhile has found this sandbox, and stored that it has it.
            if self._judge().judge(one) not in fates:
                continue
            killing = KillSandbox(project_id=one.project, sandbox_id=one.sandbox_id, only=one.sandbox_id)
            if (await self.work.call(killing, emit))["killed"]:
                ended.append(one)
        return ended

    def _judge(self) -> Orphans:
        recorder, configuration = self.work.recorder, self.work.configuration
        if recorder.unsaved:
            raise StoreError("What is in use could not be stored, so nobody can say which sandboxes are orphans")
        return Orphans(recorder.store, configuration.directory, configuration.user)

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
