"""A command that goes on by itself, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from e2b_magic.records.base import Record


class JobState(StrEnum):
    """Where a background job stands: `running`, or how that ended.

    `exited` by itself, `stopped` because that was asked for, `lost` when nobody saw its end: its sandbox ended
    first, or what watched over it there.
    """

    RUNNING = "running"
    EXITED = "exited"
    STOPPED = "stopped"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class BackgroundJob(Record):
    """A command that runs in a sandbox by itself; a dev server is one with a port.

    It tells how the job stood when it was given: `Client.get_background_job(job)` asks how it stands now.

    Attributes:
        id: Eight hexadecimal digits.
        project: The project's name.
        command: The text as given; a list of jobs may hold its beginning only.
        cwd: The working directory, or None for the user's home.
        user: The user inside the sandbox, or None for the template's.
        env_names: The names of the variables given, sorted; never their values.
        port: The port that it serves, for a dev server.
        url: Where that port is reached from a browser.
        sandbox_id: Where it runs.
        backend: `embedded`, or the E2B domain.
        pid: Its process id inside the sandbox.
        state: See `JobState`.
        exit_code: The exit code, 128 and more when a signal ended it; None while it runs, and when nobody saw its end.
        started_at: Seconds since the epoch.
        ended_at: Seconds since the epoch, or None.
    """

    id: str
    project: str
    command: str
    cwd: str | None = None
    user: str | None = None
    env_names: tuple[str, ...] = ()
    port: int | None = None
    url: str | None = None
    sandbox_id: str = ""
    backend: str = ""
    pid: int = 0
    state: JobState = JobState.RUNNING
    exit_code: int | None = None
    started_at: float = 0.0
    ended_at: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", JobState(self.state))
        object.__setattr__(self, "env_names", tuple(self.env_names))

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.state is JobState.RUNNING

    @property
    def outcome(self) -> str:
        """How it stands, in words: `running`, `exited with code 0`, `stopped`, `lost`."""
        if self.state is JobState.EXITED:
            return f"exited with code {self.exit_code}"
        return str(self.state)

    def __repr__(self) -> str:
        where = f", {self.url}" if self.url and self.running else ""
        return f"<job {self.id}: {self.outcome}, {self.project}{where}>"
