"""A sandbox's directories as far as they were opened, and the rows that are seen of them. No widgets, no I/O."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from e2b_magic.records import FileEntry


@dataclass(frozen=True, slots=True)
class Branch:
    """A row of the tree: an entry, how deep it lies, and whether it is a directory that is open."""

    entry: FileEntry
    depth: int
    opened: bool


class Tree:
    """Directories and what is known of them, for several threads: rows are pressed in one and read anew in another.

    Args:
        root: The directory at the top.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._entries: dict[str, list[FileEntry]] = {}
        self._rows: list[Branch] | None = None

    def put(self, directory: str, entries: list[FileEntry]) -> None:
        """Opens a directory, or brings an open one up to date."""
        with self._lock:
            self._entries[directory], self._rows = entries, None

    def renew(self, directory: str, entries: list[FileEntry]) -> None:
        """Brings an open directory up to date, or the root; one that was closed while it was read stays so."""
        with self._lock:
            if directory == self.root or directory in self._entries:
                self._entries[directory], self._rows = entries, None

    def fold(self, directory: str) -> None:
        """Closes a directory, and those below it."""
        below = f"{directory.rstrip('/')}/"
        with self._lock:
            for path in [path for path in self._entries if path == directory or path.startswith(below)]:
                del self._entries[path]
            self._rows = None

    @property
    def opened(self) -> list[str]:
        """The open directories, those above before those below."""
        with self._lock:
            return sorted(self._entries)

    def rows(self) -> list[Branch]:
        """Gives every row that is seen, from the top."""
        with self._lock:
            if self._rows is None:
                self._rows = list(self._walk(self.root, 0))
            return self._rows

    def _walk(self, directory: str, depth: int) -> Iterator[Branch]:
        for entry in self._entries.get(directory, ()):
            opened = entry.type == "dir" and entry.path in self._entries and entry.path != directory
            yield Branch(entry, depth, opened)
            if opened:
                yield from self._walk(entry.path, depth + 1)

    def place(self, path: str) -> int | None:
        """Gives the row that a path stands in; None when it is not seen."""
        return next((place for place, branch in enumerate(self.rows()) if branch.entry.path == path), None)


def above(path: str) -> str:
    """Gives the directory that a path lies in."""
    return posixpath.dirname(path.rstrip("/")) or "/"


def inside(directory: str, name: str) -> str:
    """Gives the path of a name in a directory; an absolute one is itself."""
    return posixpath.join(directory, name)
