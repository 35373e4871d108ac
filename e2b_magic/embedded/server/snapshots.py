"""Snapshots: copies of sandboxes' files, from which new sandboxes are made.

Each lies in a directory of its own, `snapshots/s…`, laid out as a sandbox's is, with `snapshot.json` beside it (0600),
which is written last: a directory without it was left half-made. A snapshot holds no variables and no tokens: who
makes a sandbox from it brings the former, and gets the latter.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import stat
import string
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2b_magic.embedded.containment.copying import MovedError, copy_state
from e2b_magic.embedded.containment.removal import remove_state
from e2b_magic.embedded.server.blocking import in_thread
from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.record import Record, read_private, write_private
from e2b_magic.embedded.server.templates import BASE
from e2b_magic.exceptions import ContainmentError, EmbeddedServerError

# Whose the named snapshots are: E2B has a team's name here, of which this server has one.
NAMESPACE = "local"
_FILE = "snapshot.json"
_DIRECTORY = re.compile("s[0-9a-f]{20}")
_WORD = "[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
_REFERENCE = re.compile(f"(?:{NAMESPACE}/)?(?P<name>{_WORD})(?::(?P<tag>{_WORD}))?")
_ALPHABET = string.ascii_lowercase + string.digits

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One snapshot.

    Attributes:
        id: What E2B calls a template's id.
        name: Its name; None for none.
        tag: What tells it from others of the name.
        sandbox_id: The sandbox that it was taken from.
        base: The template that its files lie over.
        created_at: When, in seconds since the epoch.
        directory: Where it is.
    """

    id: str
    name: str | None
    tag: str
    sandbox_id: str
    base: str
    created_at: float
    directory: Path

    @property
    def names(self) -> list[str]:
        """Its full names: one, or none."""
        return [] if self.name is None else [f"{NAMESPACE}/{self.name}:{self.tag}"]

    @property
    def reference(self) -> str:
        """What a sandbox's template is given as, to be made from it."""
        return self.names[0] if self.names else f"{self.id}:{self.tag}"

    def is_meant(self, name: str, tag: str | None) -> bool:
        """Whether a name, or an id, means it; any tag will do where none is given."""
        return name in (self.id, self.name) and tag in (None, self.tag)

    @classmethod
    def kept(cls, directory: Path) -> Snapshot:
        """Gives the snapshot in a directory.

        Raises:
            ValueError: Its file cannot be understood.
            OSError: It cannot be read.
        """
        value = read_private(directory / _FILE)
        try:
            return cls(
                id=str(value["id"]),
                name=None if value["name"] is None else str(value["name"]),
                tag=str(value["tag"]),
                sandbox_id=str(value["sandbox_id"]),
                base=str(value["base"]),
                created_at=float(value["created_at"]),
                directory=directory,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"{error} is missing or wrong") from error

    def keep(self) -> None:
        """Writes the file that makes the directory a snapshot.

        Raises:
            OSError: The disk is full, or fails.
        """
        names: tuple[str, ...] = ("id", "name", "tag", "sandbox_id", "base", "created_at")
        value: dict[str, Any] = {name: getattr(self, name) for name in names}
        write_private(self.directory / _FILE, value)


class Snapshots:
    """The snapshots of one server.

    Args:
        directory: Where they lie.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._snapshots: dict[Path, Snapshot] = {}
        # How many copies are being made of each, and those that are to go when none is.
        self._uses: Counter[Path] = Counter()
        self._unwanted: set[Path] = set()

    def load(self) -> None:
        """Finds those that an earlier server took, and removes what it left half-made. Blocks.

        Raises:
            EmbeddedServerError: Something else stands in the directory's place, or it is another user's.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = self._directory.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise EmbeddedServerError(f"{self._directory} is a link, or another user's: move it away")
        found = [path for path in self._directory.iterdir() if _DIRECTORY.fullmatch(path.name)]
        for path in found:
            try:
                self._snapshots[path] = Snapshot.kept(path)
            except FileNotFoundError:
                _remove_at_start(path)
            except (ValueError, OSError) as error:
                _log.error("the snapshot in %s cannot be used, and stays there: %s", path, error)
        for snapshot in sorted(self._snapshots.values(), key=lambda one: one.created_at):
            for older in self._replaced_by(snapshot):
                del self._snapshots[older.directory]
                _remove_at_start(older.directory)

    def __iter__(self) -> Any:
        return iter(list(self._snapshots.values()))

    def _replaced_by(self, snapshot: Snapshot) -> list[Snapshot]:
        """Gives the snapshots that one with the same name and tag has taken the place of."""
        if snapshot.name is None:
            return []
        return [
            one
            for one in self._snapshots.values()
            if (one.name, one.tag) == (snapshot.name, snapshot.tag)
            and one.directory != snapshot.directory
            and one.created_at <= snapshot.created_at
        ]

    def find(self, reference: str) -> Snapshot | None:
        """Gives the snapshot that a template's name means: an id or a name, with a tag or the tag `default`."""
        found = _REFERENCE.fullmatch(reference)
        if found is None:
            return None
        name, tag = found["name"], found["tag"] or "default"
        return next((one for one in self._snapshots.values() if one.is_meant(name, tag)), None)

    async def take(self, record: Record, name: str | None) -> Snapshot:
        """Takes a snapshot of a sandbox whose files nothing changes meanwhile.

        Args:
            record: The sandbox.
            name: What it is to be called, perhaps with a tag; one of that name and tag is replaced. None for no name.

        Raises:
            ProtocolError: The name is none, or the disk is full.
        """
        word, tag = _name_in(name)
        directory = self._directory / f"s{secrets.token_hex(10)}"
        await copied(record.directory, directory)
        same = next((one.id for one in self._snapshots.values() if word is not None and one.name == word), None)
        snapshot = Snapshot(
            id=same or "".join(secrets.choice(_ALPHABET) for _ in range(20)),
            name=word,
            tag=tag,
            sandbox_id=record.id,
            base=record.base,
            created_at=time.time(),
            directory=directory,
        )
        try:
            await in_thread(snapshot.keep)
        except OSError as error:
            await in_thread(remove_state, directory)
            raise _full(error) from error
        self._snapshots[directory] = snapshot
        for older in self._replaced_by(snapshot):
            await self._remove(older)
        return snapshot

    async def copy_to(self, snapshot: Snapshot, target: Path) -> None:
        """Copies a snapshot's files into a directory that is made for them.

        Raises:
            ProtocolError: The disk is full.
        """
        self._uses[snapshot.directory] += 1
        try:
            await copied(snapshot.directory, target)
        finally:
            self._uses[snapshot.directory] -= 1
            await self._remove_unwanted(snapshot.directory)

    async def delete(self, reference: str) -> bool:
        """Removes a snapshot; whether there was one. Sandboxes that were made from it have files of their own."""
        snapshot = self.find(reference)
        if snapshot is None:
            return False
        await self._remove(snapshot)
        return True

    async def _remove(self, snapshot: Snapshot) -> None:
        del self._snapshots[snapshot.directory]
        self._unwanted.add(snapshot.directory)
        await self._remove_unwanted(snapshot.directory)

    async def _remove_unwanted(self, directory: Path) -> None:
        if directory in self._unwanted and not self._uses[directory]:
            self._unwanted.discard(directory)
            # First of all the file: what is half removed is no snapshot any more, whoever looks.
            await in_thread((directory / _FILE).unlink, True)
            await in_thread(remove_state, directory)

    def listed(self, sandbox_id: str | None, name: str | None) -> list[Snapshot]:
        """Gives the snapshots of a sandbox, or of a name, perhaps with a tag; the youngest first."""
        found = None if name is None else _REFERENCE.fullmatch(name)
        if name is not None and found is None:
            return []
        wanted = [
            one
            for one in self._snapshots.values()
            if sandbox_id in (None, one.sandbox_id) and (found is None or one.is_meant(found["name"], found["tag"]))
        ]
        return sorted(wanted, key=lambda one: (one.created_at, one.id), reverse=True)


def _remove_at_start(directory: Path) -> None:
    """Removes a directory that is no snapshot, or is one no more; that it cannot be is no reason to serve nobody."""
    try:
        (directory / _FILE).unlink(missing_ok=True)
        remove_state(directory)
    except OSError as error:
        _log.warning("%s, which is no snapshot, stays: %s", directory, error)


def _name_in(name: str | None) -> tuple[str | None, str]:
    if name is None:
        return None, "default"
    found = _REFERENCE.fullmatch(name)
    if found is None:
        raise ProtocolError(400, "a snapshot's name is made of letters, digits, '-', '_' and '.', perhaps with ':tag'")
    if found["name"] == BASE:
        raise ProtocolError(400, f"'{BASE}' is the name of a template: take another")
    return found["name"], found["tag"] or "default"


async def copied(source: Path, target: Path) -> None:
    """Copies a sandbox's files (see `copy_state`).

    Raises:
        ProtocolError: The disk is full, something changed meanwhile, or there is no user id to give them to.
    """
    try:
        await in_thread(copy_state, source, target)
    except OSError as error:
        raise _full(error) from error
    except (MovedError, ContainmentError) as error:
        raise ProtocolError(500, str(error)) from error


def _full(error: OSError) -> ProtocolError:
    return ProtocolError(507, f"the files cannot be copied: {error.strerror}")
