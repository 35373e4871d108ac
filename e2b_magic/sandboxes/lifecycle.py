"""What may be asked of a project's sandbox itself: its beginning, its state, its time, its rest and its end."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from e2b import AsyncSandbox, SandboxInfo
from e2b import SandboxState as ServersState

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.records import SandboxMetrics, SandboxState
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.sandboxes.sdk_errors import translating
from e2b_magic.sandboxes.tagged import template_of
from e2b_magic.worker.protocol import Attached, Emit
from e2b_magic.worker.requests.base import Request
from e2b_magic.worker.requests.sandboxes import (
    CreateSandbox,
    ExtendSandbox,
    GetSandboxMetrics,
    KillSandbox,
    ListSandboxes,
    PauseSandbox,
    ResumeSandbox,
    SandboxStatus,
    SetSandboxTimeout,
)


def state_of(info: SandboxInfo, backend: str) -> SandboxState:
    """Gives our record of what a server says of a sandbox."""
    return SandboxState(
        project=info.metadata.get("e2b-magic-project", ""),
        backend=backend,
        state=info.state.value,
        sandbox_id=info.sandbox_id,
        expires_at=info.end_at.timestamp(),
        template=template_of(info),
        started_at=info.started_at.timestamp(),
        cpu_count=info.cpu_count,
        memory_mb=info.memory_mb,
        origin=info.metadata.get("e2b-magic-origin", ""),
    )


async def _state(manager: SandboxManager, request: Request) -> SandboxState:
    info = await manager.find(request)
    backend = (await manager.connection()).backend
    if info is not None:
        return state_of(info, backend)
    missing = "gone" if request.sandbox_id else "none"
    return SandboxState(project=request.project_id, backend=backend, state=missing)


async def existing(manager: SandboxManager, request: Request, *, running: bool = False) -> SandboxInfo:
    """Gives what the server knows of a project's sandbox.

    Args:
        manager: Whose sandbox it is.
        request: Names the project.
        running: Whether one that is paused will not do.

    Raises:
        InvalidRequestError: The project has none.
    """
    info = await manager.find(request)
    if info is None:
        raise InvalidRequestError(f"Project {request.project_id!r} has no sandbox: the first command makes one")
    if running and info.state is ServersState.PAUSED:
        raise InvalidRequestError(f"The sandbox of project {request.project_id!r} is paused: resume it first")
    return info


async def status(manager: SandboxManager, request: SandboxStatus, emit: Emit) -> dict[str, Any]:
    """Gives the `SandboxState` of the project's sandbox; makes none."""
    return (await _state(manager, request)).to_json()


async def create(manager: SandboxManager, request: CreateSandbox, emit: Emit) -> dict[str, Any]:
    """Makes the project's sandbox and gives its `SandboxState`.

    Raises:
        InvalidRequestError: It has one already, and that is not to be replaced.
    """
    known = await manager.find(request)
    if known is not None and not request.replace_existing:
        raise InvalidRequestError(
            f"Project {request.project_id!r} has a sandbox already, {known.sandbox_id}: kill it, or ask for it to be "
            "replaced, files and all (replace, or --replace), or choose another project"
        )
    if known is None:
        lease = await manager.lease(replace(request, sandbox_id=""), emit)
    else:
        # Made first: should that fail, the old one is still there with its files.
        lease = await manager.create(request.project_id, request.template, request.template, request.origin)
        await manager.kill(request, spare=lease.sandbox_id)
        await emit(Attached(lease.sandbox_id, lease.connection.backend, lease.expires_at, created=True))
    return (await _state(manager, replace(request, sandbox_id=lease.sandbox_id))).to_json()


async def kill(manager: SandboxManager, request: KillSandbox, emit: Emit) -> dict[str, Any]:
    """Ends the project's sandboxes and gives the ids of those `killed`."""
    return {"killed": await manager.kill(request, only=request.only or None)}


async def pause(manager: SandboxManager, request: PauseSandbox, emit: Emit) -> dict[str, Any]:
    """Pauses the project's sandbox and gives its `SandboxState`; one that is paused stays so."""
    info = await existing(manager, request)
    connection = await manager.connection()
    with translating():
        await AsyncSandbox.pause(info.sandbox_id, **connection.options())
    manager.drop(request.project_id)
    return (await _state(manager, request)).to_json()


async def resume(manager: SandboxManager, request: ResumeSandbox, emit: Emit) -> dict[str, Any]:
    """Resumes the project's sandbox and gives its `SandboxState`; one that runs goes on."""
    info = await existing(manager, request)
    manager.drop(request.project_id)  # a lease from before the pause would be taken for alive
    asked = replace(request, sandbox_id=info.sandbox_id, template=template_of(info))
    await manager.lease(asked, emit)
    return (await _state(manager, asked)).to_json()


async def extend(manager: SandboxManager, request: ExtendSandbox, emit: Emit) -> dict[str, Any]:
    """Moves the sandbox's end outwards and gives its `SandboxState`."""
    info = await existing(manager, request, running=True)
    connection = await manager.connection()
    with translating():
        # connect never shortens, whatever it is given.
        await AsyncSandbox.connect(info.sandbox_id, timeout=math.ceil(request.seconds), **connection.options())
    return (await _state(manager, request)).to_json()


async def set_timeout(manager: SandboxManager, request: SetSandboxTimeout, emit: Emit) -> dict[str, Any]:
    """Moves the sandbox's end to where it is asked for and gives its `SandboxState`."""
    info = await existing(manager, request, running=True)
    connection = await manager.connection()
    seconds = math.ceil(request.seconds)
    with translating():
        await AsyncSandbox.set_timeout(info.sandbox_id, seconds, **connection.options())
    manager.lifetimes.set(request.project_id, seconds)
    return (await _state(manager, request)).to_json()


async def list_all(manager: SandboxManager, request: ListSandboxes, emit: Emit) -> dict[str, Any]:
    """Gives the `SandboxState` of every sandbox of this user's projects, by project."""
    backend = (await manager.connection()).backend
    states = [state_of(info, backend) for info in await manager.all()]
    states.sort(key=lambda state: (state.project, state.started_at))
    return {"sandboxes": [state.to_json() for state in states]}


async def metrics(manager: SandboxManager, request: GetSandboxMetrics, emit: Emit) -> dict[str, Any]:
    """Gives the `SandboxMetrics` that the server took, oldest first."""
    info = await existing(manager, request)
    connection = await manager.connection()
    with translating():
        taken = await AsyncSandbox.get_metrics(info.sandbox_id, **connection.options())
    records = [
        SandboxMetrics(
            timestamp=one.timestamp.timestamp(),
            cpu_count=one.cpu_count,
            cpu_used_pct=one.cpu_used_pct,
            memory_used=one.mem_used,
            memory_total=one.mem_total,
            memory_cache=one.mem_cache,
            disk_used=one.disk_used,
            disk_total=one.disk_total,
        )
        for one in taken
    ]
    records.sort(key=lambda record: record.timestamp)
    return {"metrics": [record.to_json() for record in records]}
