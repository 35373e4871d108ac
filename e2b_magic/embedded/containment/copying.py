"""Copies a sandbox's files into the directory of another one, or of a snapshot.

Copied is what a sandbox has made of the directories that it may write to: contents, links (two names of one file are
that again), holes, FIFOs, modes, times and the extended attributes in which overlayfs and E2B's metadata live. It all
belongs to the copy's own user. Where the file system can share blocks between files, they are shared.

Whatever a sandbox has made, no link is followed and no path is put together: each entry is opened by its name, in a
directory that is held open, and nothing runs in the sandbox meanwhile. `cp -a` was the other way: it keeps the owner
where root runs it, which here must change, and gives up on directories that their owner may not read.

A `Tree` walks, a `Transfer` copies what is not a directory.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from e2b_magic.embedded.containment.removal import remove_state
from e2b_magic.embedded.containment.state import WRITABLE, StateDirectory
from e2b_magic.embedded.containment.transfer import Transfer, dress

# Levels whose descriptors are held; from further down the walk comes back by `..`.
HELD = 32
_LINKS = "links"
_MADE = 0o700
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class MovedError(Exception):
    """A tree changed while it was copied: something still runs in it."""


def copy_state(source: Path, target: Path) -> None:
    """Copies a sandbox's files into a directory that is made for them; on a failure it is not there.

    Args:
        source: The sandbox's directory; nothing in it changes meanwhile.
        target: The new one, which gets a user id of its own where the server is root's.

    Raises:
        OSError: The disk is full, or fails.
        MovedError: Something did change.
        ContainmentError: Root has no user id to give it to.
    """
    try:
        state = StateDirectory.open(target, empty=True)
        try:
            old = os.open(source, _DIRECTORY)
            try:
                _copy(old, state)
            finally:
                os.close(old)
        finally:
            state.close()
    except BaseException:
        remove_state(target)
        raise


def _copy(old: int, state: StateDirectory) -> None:
    new = state.fileno()
    # A file with several names is first copied here, under its number, and then gets its names.
    os.mkdir(_LINKS, 0o700, dir_fd=new)
    links = os.open(_LINKS, _DIRECTORY, dir_fd=new)
    try:
        transfer = Transfer(links, state.identity)
        for name in WRITABLE:
            Tree(transfer).copy(old, new, name)
        for name in os.listdir(links):  # noqa: PTH208 - pathlib knows no directory by its descriptor
            os.unlink(name, dir_fd=links)
    finally:
        os.close(links)
    os.rmdir(_LINKS, dir_fd=new)


@dataclass(slots=True)
class _Side:
    """A directory on the way down, in the original or in the copy.

    Attributes:
        descriptor: Its descriptor; None where it is reached from below.
        identity: Its device and inode.
    """

    descriptor: int | None
    identity: tuple[int, int]

    @classmethod
    def of(cls, descriptor: int) -> _Side:
        """Gives the side that is held by this descriptor, and closes it when it is let go."""
        status = os.fstat(descriptor)
        return cls(descriptor, (status.st_dev, status.st_ino))

    @property
    def held(self) -> int:
        """The descriptor, while it is held."""
        assert self.descriptor is not None  # noqa: S101 - for the type checker: the lowest level is always held
        return self.descriptor

    def let_go(self) -> None:
        """Closes the descriptor, if there is one."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def come_back(self, below: int) -> None:
        """Takes hold of the directory again, as the one above another.

        Raises:
            MovedError: What is above is another one.
        """
        if self.descriptor is None:
            above = _Side.of(os.open("..", _DIRECTORY, dir_fd=below))
            self.descriptor = above.descriptor
            if above.identity != self.identity:
                raise MovedError("a directory was moved while it was copied")


@dataclass(slots=True)
class _Level:
    """A directory and its copy, with what is still to be done there.

    Attributes:
        status: The original's status, as it was found.
        closed: Whether its owner may not read or search it, which is lifted for as long as it is copied.
        pending: The directories in it that are not copied yet.
    """

    old: _Side
    new: _Side
    status: os.stat_result
    closed: bool
    pending: list[str] = field(default_factory=list)


class Tree:
    """The way through one tree.

    Args:
        transfer: What copies files.
    """

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer
        self._levels: list[_Level] = []

    def copy(self, old: int, new: int, name: str) -> None:
        """Copies a directory with all that is in it.

        Args:
            old: The descriptor of the directory that it is in.
            new: That of the one that it is copied to.
            name: Its name, in both.
        """
        try:
            self._enter(old, new, name)
            while self._levels:
                level = self._levels[-1]
                if level.pending:
                    self._enter(level.old.held, level.new.held, level.pending.pop())
                else:
                    self._leave()
        finally:
            for level in self._levels:
                level.old.let_go()
                level.new.let_go()

    def _enter(self, old: int, new: int, name: str) -> None:
        os.mkdir(name, _MADE, dir_fd=new)
        with _unlocked(old, name) as (descriptor, status, closed):
            level = _Level(_Side.of(descriptor), _Side.of(os.open(name, _DIRECTORY, dir_fd=new)), status, closed)
        self._levels.append(level)
        if len(self._levels) > HELD:
            above = self._levels[-2]
            above.old.let_go()
            above.new.let_go()
        with os.scandir(level.old.held) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    level.pending.append(entry.name)
                else:
                    self._transfer.copy(entry, level.old.held, level.new.held)

    def _leave(self) -> None:
        level = self._levels.pop()
        try:
            dress(level.old.held, level.new.held, level.status, self._transfer.owner, made=_MADE)
            if self._levels:
                self._levels[-1].old.come_back(level.old.held)
                self._levels[-1].new.come_back(level.new.held)
            if level.closed:
                os.chmod(level.old.held, stat.S_IMODE(level.status.st_mode))  # noqa: PTH101 - by descriptor
        finally:
            level.old.let_go()
            level.new.let_go()


@contextlib.contextmanager
def _unlocked(above: int, name: str) -> Iterator[tuple[int, os.stat_result, bool]]:
    """Opens a directory, and lets its owner, who is the daemon, read and search it if it forbids that.

    Gives its descriptor, its status as it was, and whether that was done.
    """
    place = os.open(name, _PLACE, dir_fd=above)
    try:
        status = os.fstat(place)
        closed = status.st_mode & 0o500 != 0o500 and os.geteuid() != 0
        if closed:
            # By the descriptor: chmod(2) follows links.
            Path(f"/proc/self/fd/{place}").chmod(stat.S_IMODE(status.st_mode) | 0o500)
        yield os.open(".", _DIRECTORY, dir_fd=place), status, closed
    finally:
        os.close(place)
