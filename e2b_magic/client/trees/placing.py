"""Files of this machine that are written from what comes: new ones, ones that take another's place, and their names."""

from __future__ import annotations

import os
import unicodedata
import uuid
from collections.abc import Iterable
from pathlib import Path

Content = bytes | memoryview


def beside(path: Path) -> Path:
    """Gives a hidden name beside a path that nothing has."""
    return path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex[:12]}")


def write_new_file(
    path: str, pieces: Iterable[Content], *, mode: int | None = None, modified: float | None = None
) -> int:
    """Writes a file where none is, and gives its size in bytes.

    Args:
        path: Where it is to stand; no link there is followed.
        pieces: Its content.
        mode: Its permission bits; as this machine makes files when None.
        modified: Its time, in seconds since the epoch; now when None.

    Raises:
        OSError: Something stands there, or it cannot be written.
    """
    size = 0
    with open(path, "xb", buffering=0) as file:  # noqa: PTH123  ten thousand paths take longer with pathlib
        for piece in pieces:
            size += len(piece)
            rest = memoryview(piece)
            while rest:
                rest = rest[file.write(rest) :]
    if mode is not None:
        os.chmod(path, mode)  # noqa: PTH101  as above
    if modified is not None:
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
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return size


def folds_names(directory: Path) -> bool:
    """Says whether a directory's file system takes names for the same that differ in case, as macOS's and Windows's do.

    Args:
        directory: The directory, in which a file is made to find that out.
    """
    probe = beside(directory / "e2b-magic-Aa")
    try:
        probe.touch(exist_ok=False)
        return probe.with_name(probe.name.swapcase()).exists()
    except PermissionError:
        return False  # whoever may write nothing here overwrites nothing
    finally:
        probe.unlink(missing_ok=True)


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
