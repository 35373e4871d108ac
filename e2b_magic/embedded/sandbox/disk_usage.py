"""How much of the disk a sandbox's files take: walked from outside, while the sandbox may change everything.

A sandbox decides how deep its directories lie, how long their paths are, and whether anybody may enter them. So the
walk keeps no paths; it follows no link; it holds the descriptors of the uppermost levels alone, and comes back up from
below them by `..`, where it looks whether that is still the directory it came from.

An ordinary user's daemon may not enter a directory that forbids it to its owner, whose files it is to count all the
same: there the directory is opened up for the moment that takes, unless the sandbox has changed its mode again
meanwhile. Root's daemon needs no such thing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from e2b_magic.embedded.containment.state import WRITABLE

# Levels whose descriptors are held. A directory that is moved while the walk is deeper in it is no matter up to here.
HELD = 32
# Directories that were seen and not yet entered, over all levels: far more than anyone but an attacker has at once.
MOST_PENDING = 250_000
# How often a walk that lost its way begins again.
_TRIES = 3
# What a directory itself takes, whatever its file system says: an entry of a few bytes would else be for nothing.
_DIRECTORY_BYTES = 4096
_READ_AND_SEARCH = stat.S_IRUSR | stat.S_IXUSR
_PATH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UnmeasurableError(Exception):
    """A sandbox's files cannot be counted, which no honest sandbox brings about."""


class _LostError(Exception):
    """What was above a directory is not any more."""


@dataclass(slots=True)
class _Level:
    """A directory on the way down.

    Attributes:
        descriptor: Its descriptor, by path only; None where it is reached from below.
        identity: Its device and inode.
        pending: The directories in it that are still to be entered.
    """

    descriptor: int | None
    identity: tuple[int, int]
    pending: list[str] = field(default_factory=list)


def disk_usage(state: int) -> int:
    """Gives the bytes on disk of a sandbox's files, those of a file with several names once.

    Args:
        state: The descriptor of its state directory.

    Raises:
        UnmeasurableError: It has more directories than can be kept in mind, or moves them about too fast.
        OSError: Whatever the system says.
    """
    for _ in range(_TRIES):
        try:
            return sum(_Walk().measure(state, name) for name in WRITABLE)
        except _LostError:
            continue
    raise UnmeasurableError("directories are moved about faster than they can be counted")


class _Walk:
    """One walk over a tree."""

    def __init__(self) -> None:
        self._levels: list[_Level] = []
        self._total = 0
        self._pending = 0

    def measure(self, above: int, name: str) -> int:
        """Gives the bytes on disk of the tree at a name in a directory."""
        try:
            self._enter(above, name)
            while self._levels:
                level = self._levels[-1]
                if level.pending and level.descriptor is not None:
                    self._pending -= 1
                    self._enter(level.descriptor, level.pending.pop())
                else:
                    self._leave()
        finally:
            for level in self._levels:
                if level.descriptor is not None:
                    os.close(level.descriptor)
        return self._total

    def _enter(self, above: int, name: str) -> None:
        """Goes down into a directory, if it still is one, and counts what is in it."""
        try:
            with _accessible(above):
                descriptor = os.open(name, _PATH, dir_fd=above)
        except (FileNotFoundError, NotADirectoryError):
            return  # it changed since it was listed
        if len(self._levels) > HELD and self._levels[-1].descriptor is not None:
            os.close(self._levels[-1].descriptor)
            self._levels[-1].descriptor = None
        level = _Level(descriptor, _identity(descriptor))
        self._levels.append(level)
        self._count(descriptor, level)

    def _count(self, directory: int, level: _Level) -> None:
        with _accessible(directory):
            opened = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
            try:
                with os.scandir(opened) as entries:
                    for entry in entries:
                        self._add(entry, level)
            finally:
                os.close(opened)

    def _add(self, entry: os.DirEntry[str], level: _Level) -> None:
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(status.st_mode):
            # By its names, all of which lie in here, so that a file with two of them counts once.
            self._total += status.st_blocks * 512 // max(status.st_nlink, 1)
            return
        self._total += _DIRECTORY_BYTES
        self._pending += 1
        if self._pending > MOST_PENDING:
            raise UnmeasurableError(f"more than {MOST_PENDING} directories are waiting to be counted")
        level.pending.append(entry.name)

    def _leave(self) -> None:
        """Goes up again.

        Raises:
            _LostError: Not to where the walk came from.
        """
        left = self._levels.pop()
        assert left.descriptor is not None  # noqa: S101 - for the type checker: the lowest is always held
        try:
            if self._levels and self._levels[-1].descriptor is None:
                self._levels[-1].descriptor = _parent(left.descriptor, self._levels[-1].identity)
        finally:
            os.close(left.descriptor)


def _parent(directory: int, identity: tuple[int, int]) -> int:
    try:
        with _accessible(directory):
            parent = os.open("..", _PATH, dir_fd=directory)
    except PermissionError as error:  # it was shut again in this very moment
        raise _LostError from error
    if _identity(parent) != identity:
        os.close(parent)
        raise _LostError
    return parent


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


@contextmanager
def _accessible(directory: int) -> Iterator[None]:
    """Lets a directory be read and searched for a moment, where it forbids that to its owner, who is the daemon."""
    mode = stat.S_IMODE(os.fstat(directory).st_mode)
    if mode & _READ_AND_SEARCH == _READ_AND_SEARCH or os.geteuid() == 0:
        yield
        return
    # By the descriptor: what stands at its name may be another thing by now.
    held, lifted = Path(f"/proc/self/fd/{directory}"), mode | _READ_AND_SEARCH
    held.chmod(lifted)
    try:
        yield
    finally:
        if stat.S_IMODE(os.fstat(directory).st_mode) == lifted:
            held.chmod(mode)
