"""Commands that go on by themselves in a sandbox: started, listed, their logs read and followed, stopped.

What a job is lies in the sandbox itself (`job_scripts` says how), so that whoever reaches the sandbox finds its jobs: a
kernel that was restarted, another one, a worker elsewhere. What is read from there was within reach of what runs there,
and is checked.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from e2b import CommandExitException

from e2b_magic.exceptions import (
    BackendError,
    CommandFailedError,
    E2BMagicError,
    InvalidRequestError,
    SandboxGoneError,
    SandboxUnreachableError,
)
from e2b_magic.records import BackgroundJob, JobState
from e2b_magic.sandboxes import job_scripts
from e2b_magic.sandboxes.commands import ENDING, Execution
from e2b_magic.sandboxes.finishing import finishing, heed_cancellation, started, undone
from e2b_magic.sandboxes.lease import Lease
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.sandboxes.sdk_errors import translating
from e2b_magic.worker.protocol import Emit, Event, Output
from e2b_magic.worker.requests.base import Request
from e2b_magic.worker.requests.commands import ExecuteCommand
from e2b_magic.worker.requests.jobs import JOB_ID, ListJobs, ReadLog, StartJob, StopJob

_log = logging.getLogger(__name__)

KEEPER_USER: Final = "root"
"""Who looks after jobs, whoever runs them: who is root sees every user's."""
SHOWN: Final = 2000
"""How much of a command a list of jobs holds, in characters."""
LONGEST_SCRIPT: Final = 128 * 1024 - 1
"""The longest script that a shell takes as an argument, in bytes (Linux's MAX_ARG_STRLEN)."""
ROUND: Final = 240
"""How long one look at a log goes on, in seconds: when a worker dies, its reader in the sandbox ends by itself."""


@asynccontextmanager
async def found(manager: SandboxManager, request: Request, emit: Emit) -> AsyncIterator[Lease]:
    """Gives the project's sandbox, which has to be there already.

    Raises:
        InvalidRequestError: It is paused.
        SandboxGoneError: There is none.
    """
    lease = await manager.existing(request, emit)
    if lease is None and await manager.find(request) is not None:
        raise InvalidRequestError(f"The sandbox of project {request.project_id!r} is paused: resume it first")
    if lease is None:
        raise SandboxGoneError(f"Project {request.project_id!r} has no running sandbox, so nothing runs in it")
    try:
        yield lease
    except (SandboxGoneError, SandboxUnreachableError):
        manager.forget(lease)
        raise


async def script(lease: Lease, text: str, *, within: float = 60) -> str:
    """Runs one of `job_scripts` and gives what it printed; a job that is not there is named.

    Args:
        lease: Where to run it.
        text: The script.
        within: Seconds that it may take.

    Raises:
        InvalidRequestError: There is no such job.
        BackendError: The script failed.
    """
    try:
        with translating():
            return (await finishing(lease.sandbox.commands.run(text, user=KEEPER_USER, timeout=within))).stdout
    except CommandExitException as failed:
        if failed.exit_code == job_scripts.UNKNOWN_JOB:
            raise _unknown_job() from None
        raise BackendError(f"The sandbox could not look after the job: {_last_line(failed)}") from None


def _last_line(failed: CommandExitException) -> str:
    lines = failed.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {failed.exit_code}"


def _unknown_job() -> InvalidRequestError:
    return InvalidRequestError("There is no such job in the sandbox: %e2b jobs lists those that there are")


async def start(manager: SandboxManager, request: StartJob, emit: Emit) -> dict[str, Any]:
    """Starts a job and gives it."""
    lease = await manager.lease(request, emit)
    return (await begin(manager, lease, request)).to_json()


async def begin(
    manager: SandboxManager, lease: Lease, request: StartJob, port: int | None = None, base: str = ""
) -> BackgroundJob:
    """Starts a job on a lease.

    Args:
        manager: Whose lease it is.
        lease: Where to start it.
        request: What to start.
        port: The port that it will serve.
        base: The path under which a browser will see what it serves there.

    Raises:
        CommandFailedError: It could not be started; the text says why.
    """
    heed_cancellation()
    job = BackgroundJob(
        id=request.job or secrets.token_hex(4),
        project=request.project_id,
        command=request.command[:SHOWN],
        cwd=request.cwd,
        user=request.user,
        env_names=tuple(sorted(request.envs)),
        port=port,
        started_at=time.time(),
    )
    starting = started(_launch(lease, request, job, base))
    try:
        await asyncio.shield(starting)
        return replace(await look(manager, lease, job.id), command=request.command)
    except asyncio.CancelledError:
        await undone(starting, lambda: give_up(lease, job.id), ENDING)
        raise


async def _launch(lease: Lease, request: StartJob, job: BackgroundJob, base: str) -> None:
    # Unbuffered, since a log that shows a Python program's output when that has ended is no log to follow.
    ours = {"PYTHONUNBUFFERED": "1", "PORT": str(job.port or ""), "BASE_PATH": base}
    given = {name: value for name, value in ours.items() if value} | request.envs
    text = job_scripts.start(job.id, json.dumps(_kept(job)), request.command)
    if len(text.encode()) > LONGEST_SCRIPT:
        raise InvalidRequestError("The command holds too many quotes for its length: write it to a file, and run that")
    try:
        with translating():
            await lease.sandbox.commands.run(text, user=request.user, cwd=request.cwd, envs=given)
    except CommandExitException as failed:
        raise CommandFailedError(f"The job could not be started: {_last_line(failed)}") from None


def _kept(job: BackgroundJob) -> dict[str, Any]:
    names = ("id", "command", "cwd", "user", "env_names", "port", "started_at")
    return {name: getattr(job, name) for name in names}


async def give_up(lease: Lease, job_id: str) -> None:
    """Ends a job whose start was interrupted, within the time that an interrupt may take."""
    try:
        async with asyncio.timeout(ENDING):
            await script(lease, job_scripts.stop(job_id, ENDING / 3))
    except InvalidRequestError:
        return  # it never started
    except (TimeoutError, E2BMagicError) as error:
        # The sandbox does not answer, or is gone; the caller has to be told of the interruption itself.
        _log.warning("the interrupted job %s may still run in %s: %s", job_id, lease.sandbox_id, error)


async def jobs_of(manager: SandboxManager, lease: Lease) -> list[BackgroundJob]:
    """Gives the jobs in a sandbox, oldest first."""
    listed = (await script(lease, job_scripts.LIST)).splitlines()
    jobs = [job for line in listed if (job := _read(manager, lease, line)) is not None]
    return sorted(jobs, key=lambda job: (job.started_at, job.id))


async def look(manager: SandboxManager, lease: Lease, job_id: str) -> BackgroundJob:
    """Gives a job.

    Raises:
        InvalidRequestError: There is no such job.
    """
    for job in await jobs_of(manager, lease):
        if job.id == job_id:
            return job
    raise _unknown_job()


def _read(manager: SandboxManager, lease: Lease, line: str) -> BackgroundJob | None:
    """Gives the job that a line of the list tells of; None when something else stands there."""
    try:
        state, pid, code, ended, kept = line.split("\t", 4)
        data: Mapping[str, Any] = json.loads(kept)
        port, names = data["port"], data["env_names"]
        if not (JOB_ID.fullmatch(data["id"]) and isinstance(port, int | None) and isinstance(data["command"], str)):
            return None
        return BackgroundJob(
            id=data["id"],
            project=lease.project,
            command=data["command"],
            cwd=_text(data["cwd"]),
            user=_text(data["user"]),
            env_names=tuple(map(str, names)),
            port=port,
            url=manager.port_url(lease, port) if port else None,
            sandbox_id=lease.sandbox_id,
            backend=lease.connection.backend,
            pid=int(pid),
            state=JobState(state),
            exit_code=int(code) if code else None,
            started_at=float(data["started_at"]),
            ended_at=float(ended) if ended else None,
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


async def list_jobs(manager: SandboxManager, request: ListJobs, emit: Emit) -> dict[str, Any]:
    """Gives the `jobs` in the project's sandbox, oldest first, and its `sandbox_id`, which is empty when there is none.

    `asked` says whether the sandbox runs and could be asked; one that is paused keeps its jobs for later.
    """
    lease = await manager.existing(request, emit)
    if lease is None:
        paused = await manager.find(request)
        return {"sandbox_id": paused.sandbox_id if paused else "", "asked": False, "jobs": []}
    try:
        jobs = await jobs_of(manager, lease)
    except (SandboxGoneError, SandboxUnreachableError):
        manager.forget(lease)
        raise
    if request.keep_alive and any(job.running and job.port is None for job in jobs):
        manager.lifetimes.extend_used(lease)
    return {"sandbox_id": lease.sandbox_id, "asked": True, "jobs": [job.to_json() for job in jobs]}


async def read_log(manager: SandboxManager, request: ReadLog, emit: Emit) -> dict[str, Any]:
    """Emits a job's log and gives the job, once it has ended when that was asked for."""
    async with found(manager, request, emit) as lease:
        follower = Follower(manager, lease, request.job, emit, quiet=request.quiet)
        if request.follow:
            while not await follower.go_on(lines=request.lines if follower.offset is None else None):
                manager.lifetimes.extend_used(lease)
        else:
            await follower.go_on(lines=request.lines, on=False)
        return (await look(manager, lease, request.job)).to_json()


class Follower:
    """Reads a job's log, one round after the other.

    Args:
        manager: Whose lease it is.
        lease: Where the job runs.
        job_id: The job's id.
        emit: Where its output goes.
        quiet: Emit nothing.

    Attributes:
        offset: How much of the log was read, in bytes; None before the first round.
        state: How the job stood after the last round.
        ready: Whether the port answered.
    """

    def __init__(self, manager: SandboxManager, lease: Lease, job_id: str, emit: Emit, *, quiet: bool = False) -> None:
        self.offset: int | None = None
        self.state = JobState.RUNNING
        self.ready = False
        self._manager = manager
        self._lease = lease
        self._job_id = job_id
        self._emit = emit
        self._quiet = quiet

    async def go_on(
        self, *, lines: int | None = None, on: bool = True, port: int | None = None, limit: float = ROUND
    ) -> bool:
        """Reads on, and says whether there is nothing more to wait for.

        Args:
            lines: How many of the last lines to begin with; None begins where the last round ended.
            on: Whether to go on until the job has ended.
            port: End as soon as this port answers.
            limit: The longest to wait, in seconds.
        """
        text = job_scripts.follow(
            self._job_id,
            offset=self.offset or 0,
            lines=lines,
            on=on,
            quiet=self._quiet,
            port=port,
            limit=min(limit, ROUND),
        )
        request = ExecuteCommand(project_id=self._lease.project, command=text, user=KEEPER_USER)
        reading = Execution(self._manager, self._lease, request, self._pass_on)
        if (await reading.run())["exit_code"] == job_scripts.UNKNOWN_JOB:
            raise _unknown_job()
        self._note(reading.stderr.text())
        return self.ready or self.state is not JobState.RUNNING

    async def _pass_on(self, event: Event) -> None:
        if isinstance(event, Output) and event.stream == "stdout":
            await self._emit(event)

    def _note(self, told: str) -> None:
        try:
            offset, state, ready = told.strip().splitlines()[-1].split()
            self.offset, self.state, self.ready = int(offset), JobState(state), ready == "1"
        except (IndexError, ValueError):
            raise BackendError("The job's log could not be read: something in the sandbox ended its reader") from None


async def stop(manager: SandboxManager, request: StopJob, emit: Emit) -> dict[str, Any]:
    """Ends a job and all that it started, and gives it; one that has ended already is left as it is."""
    async with found(manager, request, emit) as lease:
        return (await stop_on(manager, lease, request.job, request.grace)).to_json()


async def stop_on(manager: SandboxManager, lease: Lease, job_id: str, grace: float) -> BackgroundJob:
    """Ends a job on a lease."""
    await script(lease, job_scripts.stop(job_id, grace), within=grace + 30)
    return await look(manager, lease, job_id)


async def last_lines(lease: Lease, job_id: str, count: int) -> list[str]:
    """Gives the last lines of a job's log."""
    text = job_scripts.follow(job_id, offset=0, lines=count, on=False, quiet=False, port=None, limit=1)
    return [line for line in (await script(lease, text)).splitlines() if line.strip()]
