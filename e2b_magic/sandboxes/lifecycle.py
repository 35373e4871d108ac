"""What may be asked of a project's sandbox itself: its state, its end."""

from __future__ import annotations

from typing import Any

from e2b_magic.records import SandboxState
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.worker.protocol import Emit
from e2b_magic.worker.requests.sandboxes import KillSandbox, SandboxStatus


async def status(manager: SandboxManager, request: SandboxStatus, emit: Emit) -> dict[str, Any]:
    """Gives the `SandboxState` of the project's sandbox; makes none."""
    info = await manager.find(request)
    connection = await manager.connection()
    if info is None:
        state = "gone" if request.sandbox_id else "none"
        return SandboxState(project=request.project_id, backend=connection.backend, state=state).to_json()
    return SandboxState(
        project=request.project_id,
        backend=connection.backend,
        state=info.state.value,
        sandbox_id=info.sandbox_id,
        expires_at=info.end_at.timestamp(),
        template=info.metadata.get("e2b-magic-template") or info.name or info.template_id,
    ).to_json()


async def kill(manager: SandboxManager, request: KillSandbox, emit: Emit) -> dict[str, Any]:
    """Ends the project's sandboxes and gives the ids of those `killed`."""
    return {"killed": await manager.kill(request)}
