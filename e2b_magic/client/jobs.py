"""The verbs on background jobs: commands that go on by themselves in a project's sandbox, across kernel restarts.

The sandbox knows its jobs best, and is asked whenever they are listed; the store keeps how each was last seen, so that
a job whose sandbox has ended is not forgotten.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Unpack

from e2b_magic.client.background import OnEvent
from e2b_magic.client.job_watch import JobWatch
from e2b_magic.client.options import JobOptions, Unseen
from e2b_magic.client.verbs import Verbs
from e2b_magic.exceptions import InvalidRequestError, SandboxGoneError
from e2b_magic.output import OutputBuffer
from e2b_magic.records import BackgroundJob, JobState
from e2b_magic.worker.protocol import Emit, Event, Output
from e2b_magic.worker.requests.base import check_project_name
from e2b_magic.worker.requests.jobs import JOB_ID, ListJobs, ReadLog, StartJob, StopJob

Named = BackgroundJob | str | None
"""A job: itself, its id or the id's beginning, the port it serves; None for the project's newest, servers first."""

TAKING_BACK = 1.5
"""How long ending a job may take whose start was interrupted, in seconds; a prompt should be back within 2."""
Begun = Callable[[Emit], Coroutine[Any, Any, BackgroundJob]]
"""The work that gives a job."""


async def _unheard(event: Event) -> None:
    """An `Emit` where nobody listens."""


class _Text:
    """Takes events, and keeps the output that they bring."""

    def __init__(self) -> None:
        self.buffer = OutputBuffer()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Output):
            self.buffer.append(event.text)


class JobVerbs(Verbs):
    """Background jobs."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._watch = JobWatch(lambda project: self._refresh(project, _unheard), self.in_background)
        self._taken_up: set[str] = set()

    def start_background(
        self, command: str, *, on_event: OnEvent | None = None, **options: Unpack[JobOptions]
    ) -> BackgroundJob:
        """Starts a command that goes on by itself in the project's sandbox, and gives its job.

        Args:
            command: The text that bash runs.
            on_event: Called with each piece of progress.
            options: See `JobOptions`.

        Raises:
            InvalidRequestError: The command is empty or too long, or an option cannot be meant.
            CommandFailedError: It could not be started.
        """
        return self._submit(self._starting(command, options), on_event).wait()

    async def astart_background(
        self, command: str, *, on_event: OnEvent | None = None, **options: Unpack[JobOptions]
    ) -> BackgroundJob:
        """Does what `start_background` does."""
        return await self._submit(self._starting(command, options), on_event).wait_async()

    def _starting(self, command: str, options: JobOptions) -> Begun:
        request = StartJob(**self._job_fields(self._here(options, JobOptions)), command=command)

        async def start(emit: Emit) -> BackgroundJob:
            job = await self._begin(request, emit)
            self._watch.add(job)
            return job

        return start

    async def _begin(self, request: StartJob, emit: Emit) -> BackgroundJob:
        """Starts a job; a cancellation on the way ends it, also when the answer is just coming."""
        try:
            return self._keep(BackgroundJob.from_json(await self._work.call(request, emit)))
        except asyncio.CancelledError:
            target: dict[str, Any] = self._work.target({"project": request.project_id})
            stop = StopJob(**target, job=request.job, grace=TAKING_BACK / 3)
            ending = asyncio.create_task(self._work.call(stop, _unheard))
            await asyncio.wait([ending], timeout=TAKING_BACK)
            ending.cancel()
            # That there is no such job is what it mostly says, and what is wanted; no other end would help here.
            await asyncio.gather(ending, return_exceptions=True)
            raise

    def _job_fields(self, options: JobOptions) -> dict[str, Any]:
        return {
            **self._work.target(options),
            "cwd": options.get("cwd"),
            "envs": Unseen(options.get("envs") or {}),
            "user": options.get("user"),
            "job": secrets.token_hex(4),
        }

    def get_background_jobs(self, project: str | None = None) -> list[BackgroundJob]:
        """Gives a project's jobs as they stand, oldest first; makes no sandbox and wakes none."""
        name = check_project_name(project or self.project)
        return self._submit(lambda emit: self._refresh(name, emit)).wait()

    async def aget_background_jobs(self, project: str | None = None) -> list[BackgroundJob]:
        """Does what `get_background_jobs` does."""
        name = check_project_name(project or self.project)
        return await self._submit(lambda emit: self._refresh(name, emit)).wait_async()

    def get_background_job(self, job: Named = None, project: str | None = None) -> BackgroundJob:
        """Gives a job as it stands.

        Args:
            job: See `Named`.
            project: The project; the current one when left out.

        Raises:
            InvalidRequestError: There is none, or more than one.
        """
        name = check_project_name(project or self.project)
        return self._submit(lambda emit: self._find(job, name, emit)).wait()

    async def aget_background_job(self, job: Named = None, project: str | None = None) -> BackgroundJob:
        """Does what `get_background_job` does."""
        name = check_project_name(project or self.project)
        return await self._submit(lambda emit: self._find(job, name, emit)).wait_async()

    def get_log(self, job: Named = None, *, lines: int | None = None, project: str | None = None) -> str:
        """Gives what a job wrote, both streams as one; of a long log the first mebibyte and the last eight.

        Args:
            job: See `Named`.
            lines: Only that many of its last lines.
            project: The project; the current one when left out.

        Raises:
            InvalidRequestError: There is no such job.
            SandboxGoneError: Its sandbox has ended, and the log with it.
        """
        text = _Text()
        self._submit(self._reading(job, project, lines=lines), text).wait()
        return text.buffer.text()

    async def aget_log(self, job: Named = None, *, lines: int | None = None, project: str | None = None) -> str:
        """Does what `get_log` does."""
        text = _Text()
        await self._submit(self._reading(job, project, lines=lines), text).wait_async()
        return text.buffer.text()

    def follow_log(
        self,
        job: Named = None,
        *,
        lines: int | None = None,
        follow: bool = True,
        project: str | None = None,
        on_event: OnEvent | None = None,
    ) -> BackgroundJob:
        """Hands over what a job writes until it ends, and gives it then; to interrupt this leaves the job alone.

        Args:
            job: See `Named`.
            lines: Begin with that many of the log's last lines; with all of it when left out.
            follow: Whether to go on with what is written from here on.
            project: The project; the current one when left out.
            on_event: Called with each piece of the log.

        Raises:
            InvalidRequestError: There is no such job.
            SandboxGoneError: Its sandbox has ended, and the log with it.
        """
        return self._submit(self._reading(job, project, lines=lines, follow=follow), on_event).wait()

    async def afollow_log(
        self,
        job: Named = None,
        *,
        lines: int | None = None,
        follow: bool = True,
        project: str | None = None,
        on_event: OnEvent | None = None,
    ) -> BackgroundJob:
        """Does what `follow_log` does."""
        return await self._submit(self._reading(job, project, lines=lines, follow=follow), on_event).wait_async()

    def _reading(self, job: Named, project: str | None, **fields: Any) -> Begun:
        name = check_project_name(project or self.project)

        async def read(emit: Emit) -> BackgroundJob:
            known = await self._find(job, name, emit)
            if known.state is JobState.LOST and known.sandbox_id != self._sandbox_of(known.project):
                raise SandboxGoneError(f"The sandbox of job {known.id} has ended, and its log with it")
            target: dict[str, Any] = self._work.target({"project": known.project})
            request = ReadLog(**target, job=known.id, **fields)
            ended = self._keep(BackgroundJob.from_json(await self._work.call(request, emit)))
            self._watch.told(ended)
            return ended

        return read

    def wait_for_job(
        self, job: Named = None, *, timeout: float | None = None, project: str | None = None
    ) -> BackgroundJob:
        """Waits until a job has ended and gives it; to interrupt this leaves the job alone.

        Args:
            job: See `Named`.
            timeout: Give it as it stands after that many seconds.
            project: The project; the current one when left out.

        Raises:
            InvalidRequestError: There is no such job.
        """
        return self._submit(self._waiting(job, timeout, project)).wait()

    async def await_for_job(
        self,
        job: Named = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  the same words as in wait_for_job, and no error when it is over
        project: str | None = None,
    ) -> BackgroundJob:
        """Does what `wait_for_job` does."""
        return await self._submit(self._waiting(job, timeout, project)).wait_async()

    def _waiting(self, job: Named, timeout: float | None, project: str | None) -> Begun:
        name = check_project_name(project or self.project)
        if timeout is not None and not timeout >= 0:
            raise InvalidRequestError(f"timeout must be a number of seconds, 0 or more, not {timeout!r}")

        async def wait(emit: Emit) -> BackgroundJob:
            known = await self._find(job, name, emit)
            try:
                async with asyncio.timeout(timeout):
                    if known.running:
                        known = await self._reading(known, known.project, follow=True, quiet=True)(emit)
            except TimeoutError:
                known = await self._find(known, known.project, emit)
            self._watch.told(known)
            return known

        return wait

    def stop_job(self, job: Named = None, *, grace: float = 5.0, project: str | None = None) -> BackgroundJob:
        """Ends a job and all that it started, and gives it; one that has ended already is left as it is.

        Args:
            job: See `Named`.
            grace: Seconds between the request to end (SIGTERM) and the end by force (SIGKILL).
            project: The project; the current one when left out.

        Raises:
            InvalidRequestError: There is no such job.
        """
        return self._submit(self._stopping(job, grace, project)).wait()

    async def astop_job(self, job: Named = None, *, grace: float = 5.0, project: str | None = None) -> BackgroundJob:
        """Does what `stop_job` does."""
        return await self._submit(self._stopping(job, grace, project)).wait_async()

    def _stopping(self, job: Named, grace: float, project: str | None) -> Begun:
        name = check_project_name(project or self.project)

        async def stop(emit: Emit) -> BackgroundJob:
            known = await self._find(job, name, emit)
            if known.running:
                request = StopJob(**self._work.target({"project": known.project}), job=known.id, grace=grace)
                known = self._keep(BackgroundJob.from_json(await self._work.call(request, emit)))
            self._watch.told(known)
            return known

        return stop

    def finished_jobs(self) -> list[BackgroundJob]:
        """Gives, once, the jobs that have ended since it was last asked; asks nobody and waits for nothing.

        What an earlier session has left running in the current project is watched from the first time on.
        """
        self._take_up(self.project)
        return self._watch.finished()

    def _take_up(self, project: str) -> None:
        if project in self._taken_up:
            return
        self._taken_up.add(project)
        for job in self._recorder.jobs(project):
            if job.backend == self.configuration.backend:  # another one's jobs cannot be asked for here
                self._watch.add(job)

    def dismiss_job(self, job: BackgroundJob) -> None:
        """Has `finished_jobs` say nothing of a job whose end was shown already."""
        self._watch.told(job)

    def last_seen_job(self, job: BackgroundJob) -> BackgroundJob:
        """Gives a job as this session has last seen it, however old the one that is given; asks nobody."""
        return self._watch.last_seen(job)

    def _sandbox_of(self, project: str) -> str:
        known = self._recorder.known(project)
        return known.sandbox_id if known else ""

    def _keep(self, job: BackgroundJob, known: BackgroundJob | None = None) -> BackgroundJob:
        """Stores a job as the sandbox tells it, with the whole of its command where that is known here."""
        job = replace(job, backend=self.configuration.backend)  # by the name by which it is known here
        known = known or next((one for one in self._recorder.jobs(job.project) if one.id == job.id), None)
        if job.running and known is not None and known.state in (JobState.EXITED, JobState.STOPPED):
            return known  # what was asked before its end, and is answered after it, is old: none runs again
        if known is not None and known.command.startswith(job.command):
            job = replace(job, command=known.command)
        if job != known:
            self._recorder.keep_job(job)
        self._watch.note(job)
        return job

    async def _refresh(self, project: str, emit: Emit) -> list[BackgroundJob]:
        """Asks the sandbox for its jobs and gives all that are known, oldest first."""
        request = ListJobs(**self._work.target({"project": project}), keep_alive=True)
        answer = await self._work.call(request, emit)
        there = {job.id: job for job in map(BackgroundJob.from_json, answer["jobs"])}
        known = {job.id: job for job in self._recorder.jobs(project)}
        for job in known.values():
            gone = job.sandbox_id != answer["sandbox_id"] or (answer["asked"] and job.id not in there)
            if job.running and gone:
                known[job.id] = self._keep(replace(job, state=JobState.LOST), job)
        known |= {name: self._keep(job, known.get(name)) for name, job in there.items()}
        jobs = sorted(known.values(), key=lambda job: (job.started_at, job.id))
        for job in jobs:
            self._watch.add(job)
        return jobs

    async def _find(self, job: Named, project: str, emit: Emit) -> BackgroundJob:
        if isinstance(job, BackgroundJob):
            project, job = job.project, job.id
        elif job is not None and JOB_ID.fullmatch(job):
            # A whole id may be another project's, such as the one that a prompt has just named.
            project = next((one.project for one in self._recorder.jobs() if one.id == job), project)
        jobs = await self._refresh(project, emit)
        if job is None:
            return _newest(jobs, project)
        serving = [one for one in jobs if one.running and job.isdecimal() and one.port == int(job)]
        matches = serving or [one for one in jobs if one.id.startswith(job)]
        if len(matches) != 1 or not job:
            many = f"stands for {len(matches)} jobs: give more of the id" if matches else "is no job"
            raise InvalidRequestError(f"{job!r} {many} of project {project!r}: %e2b jobs lists them")
        return matches[0]


def _newest(jobs: list[BackgroundJob], project: str) -> BackgroundJob:
    if not jobs:
        raise InvalidRequestError(f"Project {project!r} has no background job yet: start one with %e2b run --bg")
    return max(jobs, key=lambda job: (job.running, job.running and job.port is not None, job.started_at))
