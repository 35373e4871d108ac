"""Requests on a project's sandbox itself: its beginning, its state, its time, its end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.worker.requests.base import LONGEST_LIFE, Request, check_project_name

_SNAPSHOT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxStatus(Request):
    """Ask whether the project's sandbox is alive, without making one."""

    type: ClassVar[str] = "sandbox_status"
    repeatable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSandbox(Request):
    """Make the project's sandbox, from `template`, before anything is run in it.

    Attributes:
        replace_existing: End the one that the project has; otherwise that is an error.
    """

    type: ClassVar[str] = "create_sandbox"
    replace_existing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KillSandbox(Request):
    """End the project's sandbox, and any other that carries the project's name.

    Attributes:
        only: The id of the one sandbox to end; all of the project's when empty.
    """

    type: ClassVar[str] = "kill_sandbox"
    only: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseSandbox(Request):
    """Put the project's sandbox to rest: it costs nothing and keeps its files until it is resumed."""

    type: ClassVar[str] = "pause_sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeSandbox(Request):
    """Wake the project's sandbox."""

    type: ClassVar[str] = "resume_sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSandbox(Request):
    """Keep the sandbox's present state, as something that sandboxes can be made from.

    Attributes:
        name: What the snapshot is called; the server's own choice when empty.
    """

    type: ClassVar[str] = "snapshot_sandbox"
    name: str = ""

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        if self.name and not _SNAPSHOT_NAME.fullmatch(self.name):
            raise InvalidRequestError(
                f"{self.name!r} cannot name a snapshot: use up to 64 small letters, digits, '_' and '-'"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSnapshots(Request):
    """Ask which snapshots there are."""

    type: ClassVar[str] = "list_snapshots"
    repeatable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSnapshot(Request):
    """Throw a snapshot away.

    Attributes:
        snapshot_id: The one that is meant.
    """

    type: ClassVar[str] = "delete_snapshot"
    snapshot_id: str

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        if not self.snapshot_id.strip():
            raise InvalidRequestError("The snapshot's id is empty: name the one to delete")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkSandbox(Request):
    """Give another project a copy of the project's sandbox, as it is now.

    Attributes:
        to: The other project, which must have no sandbox yet.
    """

    type: ClassVar[str] = "fork_sandbox"
    to: str

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        check_project_name(self.to)
        if self.to == self.project_id:
            raise InvalidRequestError(f"A fork of project {self.to!r} needs another name than its own")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed(Request):
    seconds: float

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        if not 1 <= self.seconds <= LONGEST_LIFE:
            raise InvalidRequestError(
                f"A sandbox's time must be between 1 second and 30 days, not {self.seconds!r} seconds"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendSandbox(_Timed):
    """Let the project's sandbox live at least `seconds` from now; never shortens its time."""

    type: ClassVar[str] = "extend_sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSandboxTimeout(_Timed):
    """Have the project's sandbox end `seconds` from now, and as long after each later use."""

    type: ClassVar[str] = "set_sandbox_timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSandboxes(Request):
    """Ask for the sandboxes of all of this user's projects; the answer's `sandboxes` are `SandboxState`s."""

    type: ClassVar[str] = "list_sandboxes"
    repeatable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class GetSandboxMetrics(Request):
    """Ask what the project's sandbox uses; the answer's `metrics` are `SandboxMetrics`, oldest first."""

    type: ClassVar[str] = "sandbox_metrics"
    repeatable: ClassVar[bool] = True
