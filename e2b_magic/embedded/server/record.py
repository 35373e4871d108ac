"""What a sandbox is, whether it runs or is paused; and the file that keeps a paused one beyond the server's life.

The file, `paused.json`, lies in the sandbox's directory, beside the directories that show inside, for its owner alone
(0600). It holds the values of the sandbox's variables and its tokens as they are: whoever resumes the sandbox finds
its processes with the former, and clients that were there before still hold the latter. To encrypt them was the other
way; but the key would have to lie on the same disk for the same owner, whose secrets the sandbox's own files are full
of anyway. So the file is there only while it is needed: it is written when the sandbox is paused, and removed when it
is resumed or killed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from e2b_magic.embedded.server.creation import Creation
from e2b_magic.embedded.server.log import SandboxLog
from e2b_magic.embedded.server.tokens import new_access_token

FILE = "paused.json"
_VERSION = 1
# What sandboxes' directories are called, and what one whose file cannot be read is called from then on.
_ID, _DAMAGED = "i", "damaged-"

State = Literal["running", "paused"]
PauseMode = Literal["full", "filesystem"]

_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True, kw_only=True)
class Record:
    """A sandbox, whether it runs or not.

    Attributes:
        id: Its id.
        creation: What its client asked for.
        directory: Where its files are.
        base: The template that they lie over; that of a snapshot, where it was made from one.
        token: Opens what goes on inside it.
        traffic_token: Opens its ports, where they are not public.
        started_at: When it started, or was last resumed, in seconds since the epoch.
        ends_at: When its time is over, or when it was paused.
        state: Whether it runs.
        pause_mode: What its last pause has kept: its processes too, or its files; None before the first.
        log: What happened to it.
        changing: Held by whoever pauses, resumes, copies or removes it, or changes its rules.
    """

    id: str
    creation: Creation
    directory: Path
    base: str
    token: str = field(default_factory=new_access_token, repr=False)
    traffic_token: str = field(default_factory=new_access_token, repr=False)
    # To the microsecond, as it is told: a client may ask for what started at that very moment or later.
    started_at: float = field(default_factory=lambda: round(time.time(), 6))
    ends_at: float = 0.0
    state: State = "running"
    pause_mode: PauseMode | None = None
    log: SandboxLog = field(default_factory=SandboxLog)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def public(self) -> bool:
        """Whether its ports answer without the traffic token."""
        return (self.creation.network or {}).get("allowPublicTraffic") is not False

    def is_https(self, port: int) -> bool:
        """Whether what listens on a port speaks HTTPS."""
        return port in ((self.creation.network or {}).get("httpsPorts") or ())

    def request_host(self, port: int) -> str | None:
        """Gives what its servers are told as the host of each request; None for what the client named."""
        mask = (self.creation.network or {}).get("maskRequestHost")
        return mask.replace("${PORT}", str(port)) if mask else None

    def keep(self) -> None:
        """Writes the file that keeps it, whole or not at all.

        Raises:
            OSError: The disk is full, or fails.
        """
        value = {
            "version": _VERSION,
            "creation": asdict(self.creation),
            "base": self.base,
            "token": self.token,
            "traffic_token": self.traffic_token,
            "started_at": self.started_at,
            "paused_at": time.time(),
        }
        write_private(self.directory / FILE, value)

    def forget(self) -> None:
        """Removes the file that keeps it."""
        (self.directory / FILE).unlink(missing_ok=True)

    @classmethod
    def kept(cls, directory: Path) -> Self:
        """Gives the paused sandbox that a directory keeps, of which the files alone are left.

        Raises:
            ValueError: Its file cannot be understood.
            OSError: It cannot be read.
        """
        value = read_private(directory / FILE)
        try:
            if value["version"] != _VERSION:
                raise ValueError(f"its version is {value['version']!r}, not {_VERSION}")
            token, traffic_token = str(value["token"]), str(value["traffic_token"])
            started_at, paused_at = float(value["started_at"]), float(value["paused_at"])
            base = str(value["base"])
            creation = Creation.from_kept(value["creation"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{error} is missing or wrong") from error
        return cls(
            id=directory.name,
            creation=creation,
            directory=directory,
            base=base,
            token=token,
            traffic_token=traffic_token,
            started_at=started_at,
            ends_at=paused_at,
            state="paused",
            pause_mode="filesystem",
        )


def kept_in(states: Path) -> list[Record]:
    """Gives the paused sandboxes of a directory; one whose file is damaged is set aside, with its files.

    Args:
        states: Where the sandboxes' directories lie.
    """
    records = []
    for path in sorted(states.glob(f"{_ID}*/{FILE}")):
        directory = path.parent
        try:
            records.append(Record.kept(directory))
        except (ValueError, OSError) as error:
            aside = directory.with_name(_DAMAGED + directory.name)
            directory.rename(aside)
            _log.error("the paused sandbox %s cannot be resumed: %s; its files are in %s", directory.name, error, aside)
    return records


def write_private(path: Path, value: dict[str, Any]) -> None:
    """Writes a file for its owner alone, whole or not at all.

    Raises:
        OSError: The disk is full, or fails.
    """
    half = path.with_name(f"{path.name}.new")
    half.unlink(missing_ok=True)
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    except BaseException:
        half.unlink(missing_ok=True)
        raise


def read_private(path: Path) -> dict[str, Any]:
    """Gives the object in a file.

    Raises:
        ValueError: It holds none.
        OSError: It cannot be read, or is a link.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), encoding="utf-8") as file:
        try:
            value = json.load(file)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("it holds no object")  # noqa: TRY004 - as for whatever else is wrong with its contents
    return value
