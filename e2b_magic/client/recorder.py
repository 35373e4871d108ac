"""What a client keeps in the store of its work, without ever letting the store spoil that work.

A full disk or a home that cannot be written costs the history and the cache, not the command's result: the trouble is
noted once, for the client to tell, and the work goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from e2b_magic.client.changes import Changes, ExecutionChanged, JobChanged, ProjectChanged
from e2b_magic.client.session import has_died, own_session
from e2b_magic.exceptions import CommandTimeoutError, E2BMagicError, StoreError
from e2b_magic.output import OutputBuffer
from e2b_magic.records import (
    BackgroundJob,
    ExecutionResult,
    Project,
    SandboxState,
    Status,
)
from e2b_magic.store import Store
from e2b_magic.worker.protocol import Attached, Event, Output
from e2b_magic.worker.requests.base import Request
from e2b_magic.worker.requests.commands import ExecuteCommand


@dataclass(slots=True)
class Ledger:
    """Gathers what an execution's events tell, so that its record is complete however it ends.

    Attributes:
        record: The record as it stands.
    """

    record: ExecutionResult
    _where: Attached | None = None
    _stdout: OutputBuffer = field(default_factory=OutputBuffer)
    _stderr: OutputBuffer = field(default_factory=OutputBuffer)
    _began: float = field(default_factory=time.perf_counter)

    def note(self, event: Event) -> None:
        """Takes in one event."""
        if isinstance(event, Output):
            (self._stdout if event.stream == "stdout" else self._stderr).append(event.text)
        elif isinstance(event, Attached):
            self._where = event

    def succeed(self, exit_code: int) -> ExecutionResult:
        """Gives the record of a command that ran to its end, whatever its exit code."""
        failed = f"The command exited with code {exit_code}" if exit_code else None
        if exit_code < 0:
            # envd's code for a process that did not exit by itself; which signal it was is not told.
            failed = "The command was ended by a signal: by kill, or by the system where memory was short"
        return self._end(Status.FAILED if exit_code else Status.SUCCESS, failed, exit_code)

    def fail(self, error: BaseException) -> ExecutionResult:
        """Gives the record of a command that was ended, or never got to run; what it wrote so far is in it."""
        if isinstance(error, asyncio.CancelledError):
            return self._end(Status.INTERRUPTED, "The command was interrupted and killed")
        status = Status.TIMEOUT if isinstance(error, CommandTimeoutError) else Status.ERROR
        return self._end(status, str(error) if isinstance(error, E2BMagicError) else type(error).__name__)

    def _end(self, status: Status, error: str | None, exit_code: int | None = None) -> ExecutionResult:
        where = self._where or self.record
        self.record = replace(
            self.record,
            sandbox_id=where.sandbox_id,
            backend=where.backend,
            status=status,
            exit_code=exit_code,
            error=error,
            stdout=self._stdout.text(),
            stderr=self._stderr.text(),
            truncated=self._stdout.truncated or self._stderr.truncated,
            duration=time.perf_counter() - self._began,
        )
        return self.record


class Recorder:
    """Writes executions, cached results and projects to a store, and remembers when that failed.

    Args:
        store: Where to write.
        changes: Where to tell of it.
    """

    def __init__(self, store: Store, changes: Changes) -> None:
        self.store = store
        self._changes = changes
        self._untold: str | None = None
        self._told = False
        self._swept = False

    @property
    def unsaved(self) -> bool:
        """Whether anything could not be stored in this session."""
        return self._told

    def trouble(self) -> str | None:
        """Gives, once, a line saying why results are not saved; None when they are, or when it was said."""
        line, self._untold = self._untold, None
        return line

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except StoreError as error:
            if not self._told:
                self._untold, self._told = f"Not saved, neither history nor cache: {error}", True

    def known(self, project: str) -> Project | None:
        """Gives what is stored of a project; None when nothing is, or when the store cannot tell."""
        try:
            return self.store.project(project)
        except StoreError:
            return None

    def take(self, key: str, execution: str) -> ExecutionResult | None:
        """Gives the stored result under a cache key as a hit of now, which goes into the history under an id."""
        try:
            hit = self.store.take_cached(key, execution, own_session())
        except StoreError:
            return None
        if hit is not None:
            self._changes.announce(ExecutionChanged(hit))
        return hit

    def begin(self, request: ExecuteCommand, backend: str) -> Ledger:
        """Stores an execution as pending and gives its ledger."""
        self._sweep()
        record = ExecutionResult(
            id=request.execution,
            project=request.project_id,
            command=request.command,
            cwd=request.cwd,
            user=request.user,
            env_names=tuple(sorted(request.envs)),
            had_input=request.stdin is not None,
            sandbox_id=request.sandbox_id,
            backend=backend,
            session=own_session(),
            started_at=time.time(),
        )
        self._try(lambda: self.store.save_execution(record))
        self._changes.announce(ExecutionChanged(record))
        return Ledger(record)

    def end(self, record: ExecutionResult, cache_key: str | None = None) -> None:
        """Stores an execution that has ended and, under a key, its result for the next equal command."""
        self._try(lambda: self.store.save_execution(record))
        if cache_key is not None:
            self._try(lambda: self.store.cache_result(cache_key, record))
        self._changes.announce(ExecutionChanged(record))

    def jobs(self, project: str | None = None) -> list[BackgroundJob]:
        """Gives the background jobs that are stored, oldest first; none when the store cannot tell."""
        try:
            return self.store.jobs.of(project)
        except StoreError:
            return []

    def keep_job(self, job: BackgroundJob) -> None:
        """Stores how a background job stands."""
        self._try(lambda: self.store.jobs.save(job))
        self._changes.announce(JobChanged(job))

    def keep_project(self, project: str, **changes: Any) -> None:
        """Stores what is new of a project."""
        self._update(project, **changes)

    def forget_project(self, project: str) -> None:
        """Takes a project out of the store; its history stays."""
        self._try(lambda: self.store.forget_project(project))
        self._changes.announce(ProjectChanged(project))

    def attach(self, request: Request, event: Attached) -> None:
        """Stores which sandbox a project has now."""
        known = self.known(request.project_id)
        now = (event.sandbox_id, event.backend)
        # The end moves with every use; a minute is near enough, and spares a write for each command.
        if (
            known is None
            or (known.sandbox_id, known.backend) != now
            or known.paused
            or abs(known.sandbox_expires_at - event.expires_at) > 60
        ):
            changes = {
                "sandbox_id": event.sandbox_id,
                "sandbox_expires_at": event.expires_at,
                "backend": event.backend,
                "template": request.template,
                "paused": False,
                "updated_at": time.time(),
            }
            self._update(request.project_id, **changes)

    def see(self, state: SandboxState) -> None:
        """Stores what a server says of a project's sandbox."""
        if state.state == "gone":
            self.distrust(state.project)
        elif state.sandbox_id:
            self._update(
                state.project,
                sandbox_id=state.sandbox_id,
                sandbox_expires_at=state.expires_at,
                backend=state.backend,
                template=state.template,
                paused=state.state == "paused",
            )

    def distrust(self, project: str) -> None:
        """Lets no cached result of a project hold until its sandbox is met again: it has ended, or does not answer."""
        if self.known(project) is not None:
            self._update(project, sandbox_expires_at=0.0)

    def detach(self, project: str) -> None:
        """Stores that a project has no sandbox."""
        if self.known(project) is not None:
            self._update(project, sandbox_id="", sandbox_expires_at=0.0, paused=False)

    def touch(self, project: str) -> None:
        """Raises a project's revision: its files have changed, and older cached results no longer hold."""
        self._update(project, revision=lambda number: number + 1)

    def _update(self, project: str, **changes: Any) -> None:
        before = self.known(project)
        self._try(lambda: self.store.update_project(project, **changes))
        after = self.known(project)
        # Not when nothing is new but the time: a view that asks again when it is told would ask for ever.
        if before is None or after is None or replace(before, updated_at=after.updated_at) != after:
            self._changes.announce(ProjectChanged(project))

    def _sweep(self) -> None:
        """Marks, once a session, what sessions that have died since left pending."""
        if self._swept:
            return
        self._swept = True
        self._try(self._mark_interrupted)

    def _mark_interrupted(self) -> None:
        died: dict[str, bool] = {}
        for record in self.store.pending():
            if record.session not in died:
                died[record.session] = has_died(record.session)
            if died[record.session]:
                lost = "The session that ran it ended before the command did"
                self.store.save_execution(replace(record, status=Status.INTERRUPTED, error=lost))
