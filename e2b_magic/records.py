"""The frozen records that travel between the layers and rest in the store.

An `ExecutionResult` is one command's run, from `pending` to its end. A `Project` is what is known of one
project: its sandbox, its revision, its server. Both turn into plain JSON mappings and back; nothing secret is
ever part of them (of a command's environment, the names alone).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

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


class _Record:
    """Gives a frozen dataclass its way to JSON and back."""

    def to_json(self) -> dict[str, Any]:
        """Gives a mapping of JSON values."""
        # Not asdict: it copies deeply what is immutable here, and takes ten times as long.
        return {name: getattr(self, name) for name in _names(type(self))}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Gives the record back; unknown names are passed over, so that a newer version's file opens.

        Raises:
            TypeError: A name without a default is missing.
        """
        known = _names(cls)
        return cls(**{name: value for name, value in data.items() if name in known})


_NAMES: dict[str, frozenset[str]] = {}


def _names(record: Any) -> frozenset[str]:
    """Gives the names of a record's fields; kept, since `fields` takes longer than all the rest."""
    kind = record.__name__
    if kind not in _NAMES:
        _NAMES[kind] = frozenset(one.name for one in fields(record)) - {"runner"}
    return _NAMES[kind]


def _age(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ExecutionResult(_Record, Readable):
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
        how = (
            f"cached, {_age(self.started_at - (self.cached_at or 0))} old" if self.cached else f"{self.duration:.2f} s"
        )
        code = "" if self.exit_code is None else f" exit {self.exit_code},"
        return f"<{self.status}:{code} {how}, {where}>"


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
class BackgroundJob(_Record):
    """A command that runs in a sandbox by itself; a dev server is one with a port.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(_Record):
    """What is known of one project.

    Attributes:
        name: The project's name.
        template: The sandbox template it was made from.
        sandbox_id: Its sandbox; empty while it has none.
        sandbox_expires_at: When that sandbox ends unless it is extended, in seconds since the epoch.
        backend: `embedded`, or the E2B domain.
        revision: Raised by every write to the sandbox's files, so that older cached results no longer hold.
        paused: Whether that sandbox was paused, and not used since.
        path: The directory inside the sandbox.
        port: The dev server's port, or None.
        url: Where that port is reached from a browser; empty while none is served.
        source: Where its files come from: `template NAME`, `directory PATH`, `git URL`, `files`; empty before a setup.
        state: How its setup stands: `setting up`, `ready`, `failed`, `interrupted`; empty before it.
        reason: Why it failed, in a line.
        dev: What starts its dev server; empty when that is not known.
        set_up_at: When its setup last ended well, in seconds since the epoch.
        created_at: Seconds since the epoch.
        updated_at: Seconds since the epoch.
    """

    name: str
    template: str = "base"
    sandbox_id: str = ""
    sandbox_expires_at: float = 0.0
    backend: str = ""
    revision: int = 0
    paused: bool = False
    path: str = "/home/user"
    port: int | None = None
    url: str = ""
    source: str = ""
    state: str = ""
    reason: str = ""
    dev: str = ""
    set_up_at: float = 0.0
    created_at: float = 0.0
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview(_Record):
    """Where a port of a project's sandbox is reached from a browser.

    Attributes:
        project: The project's name.
        port: The port inside the sandbox.
        url: An address; one that begins with a slash is a path on the Jupyter server itself.
        open: Whether something listened on the port when that was asked.
    """

    project: str
    port: int
    url: str
    open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry(_Record):
    """A file or directory inside a sandbox.

    Attributes:
        name: Its name.
        path: Its absolute path.
        type: `file` or `dir` (E2B's words).
        size: Bytes.
        permissions: As `ls -l` shows them.
        owner: The owner's name.
        modified_at: Seconds since the epoch.
        symlink_target: Where a symbolic link leads, or None.
    """

    name: str
    path: str
    type: str
    size: int = 0
    permissions: str = ""
    owner: str = ""
    modified_at: float = 0.0
    symlink_target: str | None = None


class Found(list[FileEntry]):
    """The entries that a search gave.

    Args:
        entries: The entries.
        more: Whether there are others, beyond the search's limit.
    """

    def __init__(self, entries: Iterable[FileEntry], *, more: bool) -> None:
        super().__init__(entries)
        self.more = more


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeEntry(_Record):
    """Something in a tree of files, here or in a sandbox.

    Attributes:
        name: Its path from the tree's root, with slashes; empty for the root itself.
        type: `file`, `dir`, `link` or `other`.
        size: Bytes.
        modified_at: Seconds since the epoch.
        mode: Its permission bits.
        target: Where a link leads.
        checksum: A file's SHA-256 in hexadecimal digits, when it was asked for.
    """

    name: str
    type: str
    size: int = 0
    modified_at: float = 0.0
    mode: int = 0o644
    target: str = ""
    checksum: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferResult(_Record):
    """What a transfer brought.

    Attributes:
        path: Where it is now: a path in the sandbox for what was put there, one on this machine for what was fetched.
        files: How many files it brought.
        size: Their bytes.
        duration: Seconds it took.
        removed: How many files it removed, since they are no longer on the other side.
        left_out: What was not brought, each with the reason.
    """

    path: str
    files: int
    size: int
    duration: float
    removed: int = 0
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxState(_Record):
    """A project's sandbox, as its server sees it.

    Attributes:
        project: The project's name.
        backend: `embedded`, or the E2B domain.
        state: `running`, `paused`, `gone` (it was known and has ended) or `none`.
        sandbox_id: Its id; empty when there is none.
        expires_at: When it ends unless extended, in seconds since the epoch.
        template: What it was made from.
        started_at: When it was made, in seconds since the epoch.
        cpu_count: Its processors.
        memory_mb: Its memory, in MiB.
    """

    project: str
    backend: str
    state: str
    sandbox_id: str = ""
    expires_at: float = 0.0
    template: str = ""
    started_at: float = 0.0
    cpu_count: int = 0
    memory_mb: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(_Record):
    """A sandbox's state at one time, from which others can be made: give `snapshot_id` as their template.

    Attributes:
        snapshot_id: Its id.
        names: What it is called.
    """

    snapshot_id: str
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxMetrics(_Record):
    """What a sandbox used at one time.

    Attributes:
        timestamp: When, in seconds since the epoch.
        cpu_count: Its processors.
        cpu_used_pct: How much of one processor it used, in per cent: up to 100 for each.
        memory_used: Bytes of memory.
        memory_total: Bytes of memory that it may use.
        memory_cache: Bytes of memory that hold copies of files.
        disk_used: Bytes of disk.
        disk_total: Bytes of disk that it may use.
    """

    timestamp: float
    cpu_count: int = 0
    cpu_used_pct: float = 0.0
    memory_used: int = 0
    memory_total: int = 0
    memory_cache: int = 0
    disk_used: int = 0
    disk_total: int = 0
