"""One command's run, and where it stands."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from e2b_magic.records.base import Record
from e2b_magic.results import Readable

if TYPE_CHECKING:
    from e2b_magic.results import Runner


class Status(StrEnum):
    """Where an execution stands: `pending` until it ends, then one of the other five."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILED = "failed"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    TIMEOUT = "timeout"


def new_execution_id(now: float | None = None) -> str:
    """Gives a new id: 13 hexadecimal digits of time and 12 of chance, so that ids sort by their time.

    Args:
        now: Seconds since the epoch; the clock's, when left out.
    """
    microseconds = round((time.time() if now is None else now) * 1_000_000)
    return f"{microseconds:013x}{os.urandom(6).hex()}"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ExecutionResult(Record, Readable):
    """One run of one command.

    Attributes:
        id: Sortable by time (see `new_execution_id`).
        project: The project's name.
        command: The text as given.
        cwd: The working directory, or None for the sandbox's home.
        user: The user inside the sandbox, or None for the template's.
        env_names: The names of the variables given, sorted; never their values.
        had_input: Whether it was given an input, which is kept nowhere.
        sandbox_id: Where it ran; empty while no sandbox is known.
        backend: `embedded`, or the E2B domain it ran on.
        session: The id of the kernel session that asked for it.
        status: See `Status`.
        stdout: Its standard output, as text.
        stderr: Its standard error, as text.
        exit_code: The exit code, or None when it never ended by itself.
        error: One line on what went wrong, or None.
        started_at: Seconds since the epoch.
        duration: Seconds it took.
        cached: Whether this answer came from the store.
        cached_at: When the command really ran, for a cached answer; seconds since the epoch.
        truncated: Whether output was left out of the middle of `stdout` or `stderr`.
        runner: What `rerun` calls; it travels nowhere.
    """

    id: str
    project: str
    command: str
    cwd: str | None = None
    user: str | None = None
    env_names: tuple[str, ...] = ()
    had_input: bool = False
    sandbox_id: str = ""
    backend: str = ""
    session: str = ""
    status: Status = Status.PENDING
    stdout: str = ""
    stderr: str = ""
    exit_code: int | None = None
    error: str | None = None
    started_at: float = 0.0
    duration: float = 0.0
    cached: bool = False
    cached_at: float | None = None
    truncated: bool = False
    runner: Runner | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", Status(self.status))
        object.__setattr__(self, "env_names", tuple(self.env_names))

    def bound(self, runner: Runner) -> Self:
        """Gives this very record, which `rerun` can run again from now on."""
        object.__setattr__(self, "runner", runner)  # a copy for each answer from the store would cost more than that
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_json, (self.to_json(),)  # without the runner, which holds a client

    def __repr__(self) -> str:
        where = f"{self.project} on {self.backend or 'no sandbox'}"
        how = "cached" if self.cached else f"{self.duration:.2f} s"
        code = "" if self.exit_code is None else f" exit {self.exit_code},"
        gap = ", output shortened" if self.truncated else ""
        return f"<{self.status}:{code} {how}, {where}{gap}>"
