"""Dev servers: jobs that serve a port, started until that answers; and where a port is reached from a browser."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from e2b import CommandExitException

from e2b_magic.exceptions import E2BMagicError, InvalidRequestError, ServerNotReadyError
from e2b_magic.records import BackgroundJob, JobState
from e2b_magic.sandboxes import job_scripts, jobs
from e2b_magic.sandboxes.finishing import finishing
from e2b_magic.sandboxes.lease import Lease
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.sandboxes.sdk_errors import translating
from e2b_magic.worker.protocol import Emit, Progress, ignore
from e2b_magic.worker.requests.base import Request
from e2b_magic.worker.requests.jobs import PreviewPort, StartDevServer

_log = logging.getLogger(__name__)

GRACE: Final = 3.0
"""How long a server that is replaced may take to end by itself, in seconds."""
LAST_LINES: Final = 5
"""How many of a failed server's last lines its error quotes."""


async def start(manager: SandboxManager, request: StartDevServer, emit: Emit) -> dict[str, Any]:
    """Starts a server and gives its job once the port answers; one of ours on that port is replaced.

    Raises:
        InvalidRequestError: Something else listens on the port.
        ServerNotReadyError: The server ended, or did not answer in time and was stopped.
    """
    lease = await manager.lease(request, emit)
    await _clear_port(manager, lease, request.port, emit)
    # At an origin of its own a server is seen at its root, whatever route there is for others.
    routed = manager.port_url(lease, request.port).startswith("/")
    job = await jobs.begin(manager, lease, request, request.port, request.base if routed else "")
    try:
        await _wait(manager, lease, job, request, emit)
    except (asyncio.CancelledError, E2BMagicError):
        await jobs.give_up(lease, job.id)
        raise
    return job.to_json()


async def _clear_port(manager: SandboxManager, lease: Lease, port: int, emit: Emit) -> None:
    for job in await jobs.jobs_of(manager, lease):
        if job.running and job.port == port:
            await emit(Progress(f"Replacing the server on port {port} (job {job.id})"))
            await jobs.stop_on(manager, lease, job.id, GRACE)
    if await _answers(lease, port):
        raise InvalidRequestError(
            f"Port {port} is taken by something that is no dev server of e2b-magic: end it, or choose another port"
        )


async def _answers(lease: Lease, port: int) -> bool:
    try:
        with translating():
            await finishing(lease.sandbox.commands.run(job_scripts.answers(port)))
    except CommandExitException:
        return False
    return True


async def _wait(manager: SandboxManager, lease: Lease, job: BackgroundJob, request: StartDevServer, emit: Emit) -> None:
    """Waits for the port to answer; what the server writes meanwhile is emitted."""
    await emit(Progress(f"Started job {job.id}; waiting for port {request.port}"))
    follower = jobs.Follower(manager, lease, job.id, emit)
    until = time.monotonic() + request.ready_within
    while (left := until - time.monotonic()) > 0:
        if await follower.go_on(port=request.port, limit=left):
            break
    if follower.ready:
        return
    wrote = " | ".join(await jobs.last_lines(lease, job.id, LAST_LINES))
    last = f"; its last lines: {wrote}" if wrote else "; it wrote nothing"
    if follower.state is JobState.RUNNING:
        others = (await jobs.script(lease, job_scripts.listening(job.id))).split()
        where = f"it listens on port {' and '.join(others)} instead" if others else "does it listen on that port?"
        raise ServerNotReadyError(
            f"Port {request.port} did not answer within {request.ready_within:g} s, so the server was stopped: "
            f"{where}{last}"
        )
    ended = await jobs.look(manager, lease, job.id)
    raise ServerNotReadyError(f"The server {ended.outcome} before port {request.port} answered{last}")


async def told_bases(manager: SandboxManager, project: str, port: int) -> list[str]:
    """Gives the paths at which the servers that run for a port were told to live, as those themselves say.

    That is one path where one server runs for it that was told any. A sandbox that cannot be asked tells none.
    """
    lease = await manager.existing(Request(project_id=project), ignore)
    if lease is None:
        return []
    try:
        return (await jobs.script(lease, job_scripts.told_bases(port))).splitlines()
    except E2BMagicError as error:
        # The server is shown all the same, and one that lives below an old path says so itself.
        _log.warning("the servers in %s cannot be asked for their paths: %s", lease.sandbox_id, error)
        return []


async def preview(manager: SandboxManager, request: PreviewPort, emit: Emit) -> dict[str, Any]:
    """Gives the `url` of a port, and whether something there is `open` to be seen.

    Raises:
        SandboxGoneError: The project has no sandbox that runs.
    """
    async with jobs.found(manager, request, emit) as lease:
        return {
            "port": request.port,
            "url": manager.port_url(lease, request.port),
            "open": await _answers(lease, request.port),
        }
