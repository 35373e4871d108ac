"""Snapshots of a project's sandbox, and forks: another project's sandbox made from one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from e2b import AsyncSandbox, SnapshotInfo

from e2b_magic.exceptions import E2BMagicError, InvalidRequestError
from e2b_magic.records import Snapshot
from e2b_magic.sandboxes.lifecycle import existing, state_of
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.sandboxes.sdk_errors import translating
from e2b_magic.sandboxes.tagged import template_of
from e2b_magic.worker.protocol import Emit, Progress
from e2b_magic.worker.requests.base import Request
from e2b_magic.worker.requests.sandboxes import DeleteSnapshot, ForkSandbox, ListSnapshots, SnapshotSandbox


def _record(info: SnapshotInfo) -> Snapshot:
    return Snapshot(snapshot_id=info.snapshot_id, names=tuple(info.names))


async def take(manager: SandboxManager, request: SnapshotSandbox, emit: Emit) -> dict[str, Any]:
    """Takes a snapshot of the project's sandbox and gives its `Snapshot`."""
    return _record(await _take(manager, request, request.name)).to_json()


async def _take(manager: SandboxManager, request: Request, name: str) -> SnapshotInfo:
    info = await existing(manager, request)
    connection = await manager.connection()
    with translating():
        return await AsyncSandbox.create_snapshot(info.sandbox_id, name=name or None, **connection.options())


def _refuse_shared(manager: SandboxManager) -> None:
    """Refuses what would reach another user's snapshots: unlike sandboxes they carry no user's name."""
    if manager.configuration.shared:
        raise InvalidRequestError("Snapshots cannot be listed or deleted where several users share one E2B key")


async def list_all(manager: SandboxManager, request: ListSnapshots, emit: Emit) -> dict[str, Any]:
    """Gives every `Snapshot` that there is."""
    _refuse_shared(manager)
    connection = await manager.connection()
    found: list[SnapshotInfo] = []
    with translating():
        pages = AsyncSandbox.list_snapshots(**connection.options())
        while pages.has_next:
            found += await pages.next_items()
    return {"snapshots": [_record(info).to_json() for info in found]}


async def delete(manager: SandboxManager, request: DeleteSnapshot, emit: Emit) -> dict[str, Any]:
    """Deletes a snapshot and says, as `deleted`, whether there was one."""
    _refuse_shared(manager)
    connection = await manager.connection()
    with translating():
        return {"deleted": await AsyncSandbox.delete_snapshot(request.snapshot_id, **connection.options())}


async def fork(manager: SandboxManager, request: ForkSandbox, emit: Emit) -> dict[str, Any]:
    """Makes the other project's sandbox from the project's own and gives its `SandboxState`.

    E2B's own fork takes no metadata, by which a sandbox is known to be a project's; so this takes the two steps that it
    is made of, a snapshot and a sandbox from that, and deletes the snapshot.

    Raises:
        InvalidRequestError: The project has no sandbox, or the other one has.
    """
    other = replace(request, project_id=request.to, to=request.project_id, sandbox_id="")
    if taken := await manager.find(other):
        raise InvalidRequestError(
            f"Project {request.to!r} has a sandbox already, {taken.sandbox_id}: kill it, or choose another name"
        )
    source = await existing(manager, request)
    snapshot = await _take(manager, request, "")
    try:
        lease = await manager.create(request.to, snapshot.snapshot_id, template_of(source), request.origin)
    finally:
        await _discard(manager, snapshot, emit)
    with translating():
        info = await lease.sandbox.get_info()
    return state_of(info, lease.connection.backend).to_json()


async def _discard(manager: SandboxManager, snapshot: SnapshotInfo, emit: Emit) -> None:
    connection = await manager.connection()
    try:
        with translating():
            await AsyncSandbox.delete_snapshot(snapshot.snapshot_id, **connection.options())
    except E2BMagicError as error:
        # The fork is made, or failed for a reason of its own: neither is undone by a snapshot that stays.
        await emit(Progress(f"The snapshot {snapshot.snapshot_id}, made for the fork, stays: {error}"))
