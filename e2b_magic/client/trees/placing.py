"""Files of this machine that are written from what comes: new ones, ones that take another's place, and their names."""

from __future__ import annotations

import os
import unicodedata
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

Content = bytes | memoryview
_UTIME_BY_DESCRIPTOR = os.utime in os.supports_fd  # not on Windows; elsewhere it spares looking the path up again
# Without a file object, which asks the system twice as much as the writing does. O_EXCL follows no link.
_WRITING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def beside(path: Path) -> Path:
    """Gives a hidden name beside a path that nothing has."""
    return path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex[:12]}")


def write_new_file(
    path: str, pieces: Iterable[Content], *, mode: int | None = None, modified: float | None = None, kept: int = 0
) -> int:
    """Writes a file where none is, and gives its size in bytes.

    Args:
        path: Where it is to stand; no link there is followed.
        pieces: Its content.
        mode: Its permission bits; as this machine makes files when None.
        modified: Its time, in seconds since the epoch; now when None.
        kept: The permission bits that a new file here is sure to keep, which need not be set again.

    Raises:
        OSError: Something stands there, or it cannot be written.
    """
    size = 0
    descriptor = os.open(path, _WRITING, 0o666 if mode is None else mode)
    try:
        for piece in pieces:
            size += len(piece)
            written = os.write(descriptor, piece)
            while written < len(piece):
                written += os.write(descriptor, memoryview(piece)[written:])
        if modified is not None and _UTIME_BY_DESCRIPTOR:
            os.utime(descriptor, (modified, modified))
    except OSError as error:
        error.filename = path  # who writes to a descriptor is told none
        raise
    finally:
        os.close(descriptor)
    if mode is not None and mode & ~kept:
        os.chmod(path, mode)  # noqa: PTH101  ten thousand paths take longer with pathlib
    if modified is not None and not _UTIME_BY_DESCRIPTOR:
        os.utime(path, (modified, modified))
    return size


def replace_file(
    path: str | Path, pieces: Iterable[Content], *, mode: int | None = None, modified: float | None = None
) -> int:
    """Writes a file that takes its place when it is whole, and gives its size in bytes.

    Args:
        path: Where it is to stand; a link there is replaced, not followed.
        pieces: Its content.
        mode: Its permission bits; as this machine makes files when None.
        modified: Its time, in seconds since the epoch; now when None.

    Raises:
        OSError: It cannot be written; what stood there stands there still.
    """
    part = beside(Path(path))
    try:
        size = write_new_file(str(part), pieces, mode=mode, modified=modified)
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # the part means nothing to anybody
        raise
    return size


@dataclass(frozen=True, slots=True)
class Habits:
    """What a directory's file system does with the names and modes of files that are made there.

    Attributes:
        folds_names: Whether it takes names for the same that differ in case, as macOS's and Windows's do.
        kept: The permission bits that a file keeps when it is made with all of them.
    """

    folds_names: bool = False
    kept: int = 0


def habits_of(directory: Path) -> Habits:
    """Gives a directory's habits, by making a file in it for a moment."""
    probe = beside(directory / "e2b-magic-Aa")
    try:
        descriptor = os.open(probe, _WRITING, 0o777)
    except PermissionError:
        return Habits()  # who may make nothing here overwrites nothing
    try:
        folds = probe.with_name(probe.name.swapcase()).exists()
        return Habits(folds, os.fstat(descriptor).st_mode & 0o777)
    finally:
        os.close(descriptor)
        probe.unlink()


class Names:
    """The names that have been used, where a file system takes different ones for the same.

    Args:
        folded: Whether it does.
    """

    def __init__(self, *, folded: bool = False) -> None:
        self._folded = folded
        self._used: dict[tuple[str, ...], tuple[str, ...]] = {}

    def taken_by(self, parts: tuple[str, ...]) -> str | None:
        """Uses a path, and gives the other one that it would overwrite, if there is one.

        Args:
            parts: The path's names, from the tree's root.
        """
        if not self._folded:
            return None
        key = tuple(unicodedata.normalize("NFC", part).casefold() for part in parts)
        other = self._used.setdefault(key, parts)
        return None if other == parts else "/".join(other)
