"""A project's sandbox as its server sees it, the snapshots taken of it, and what it uses."""

from __future__ import annotations

from dataclasses import dataclass

from e2b_magic.records.base import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxState(Record):
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
        origin: Who asked for it, as far as it tells: see `client.orphans`.
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
    origin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Snapshot(Record):
    """A sandbox's state at one time, from which others can be made: give `snapshot_id` as their template.

    Attributes:
        snapshot_id: Its id.
        names: What it is called.
    """

    snapshot_id: str
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))

    def __repr__(self) -> str:
        named = f", {', '.join(self.names)}" if self.names else ""
        return f"<snapshot {self.snapshot_id}{named}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxMetrics(Record):
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
