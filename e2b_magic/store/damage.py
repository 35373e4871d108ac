"""A damaged file is set aside, so that the next connection begins a new one."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from e2b_magic.interrupts import deferred

if TYPE_CHECKING:
    from filelock import BaseFileLock

_LOCK_TIMEOUT = 10.0  # seconds; it is held for three renames

Identity = tuple[int, int]
"""What the file system knows a file by, whatever its name: the device's number and the file's."""


def identity_of(path: str | Path) -> Identity | None:
    """Gives the identity of the file at a path; None when there is none.

    Raises:
        OSError: The path cannot be looked at.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  Path.stat takes twice as long, and this is asked at every use
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def set_aside(path: Path, damaged: Identity | None) -> None:
    """Renames a damaged file and what belongs to it, unless another process has done so.

    Nothing is deleted: `sqlite3 FILE .recover` may still get much out of it.

    Args:
        path: Where the file lies.
        damaged: The file that was found damaged. Another one at the path is a new one, and is not touched.

    Raises:
        OSError: It cannot be renamed.
    """
    with lock(path):
        if damaged is None or identity_of(path) != damaged:
            return
        # The file first: from now on who wants to begin a new one waits for the lock, and so the -wal is still the old.
        aside = _rename(path, "corrupt", ("", "-wal", "-shm"))
    warnings.warn(f"The store {path} was damaged: it is set aside as {aside}, and a new one begun", stacklevel=2)


def set_aside_leftovers(path: Path, wal: Identity | None) -> None:
    """Renames the -wal of a file in whose place another was put: SQLite would write what is in it into the new one.

    Args:
        path: Where the new file lies.
        wal: The -wal of the file that lay there. Another one belongs to the new file, and is not touched.

    Raises:
        OSError: It cannot be renamed.
    """
    beside = path.with_name(f"{path.name}-wal")
    if wal is None or identity_of(beside) != wal:
        return
    with lock(path):
        if identity_of(beside) == wal:
            _rename(path, "replaced", ("-wal", "-shm"))


def _rename(path: Path, why: str, suffixes: tuple[str, ...]) -> str:
    nanoseconds = time.time_ns()
    when = time.strftime("%Y%m%d-%H%M%S", time.gmtime(nanoseconds // 10**9))
    aside = f"{path.name}.{why}-{when}-{nanoseconds % 10**9:09}"
    for suffix in suffixes:
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(path.with_name(aside + suffix))
    return aside


def create(path: Path) -> None:
    """Makes an empty file that its owner alone can read, if there is none.

    An existing one is not opened, not even for a moment: to close it would drop the locks of every other connection
    that this process has to it (https://sqlite.org/howtocorrupt.html, 2.2).

    Raises:
        OSError: It cannot be made.
    """
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with deferred(), lock(path):
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def lock(path: Path) -> BaseFileLock:
    """Gives the lock, between threads and processes, under which a file is begun or set aside."""
    from filelock import FileLock  # here, since only a new or a damaged file needs it

    return FileLock(f"{path}.lock", mode=0o600, timeout=_LOCK_TIMEOUT)
