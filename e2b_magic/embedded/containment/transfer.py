"""Copies single entries of a sandbox's files: regular files, and what is neither file nor directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from e2b_magic.embedded.containment.identity import Identity

# linux/fs.h
_CLONE = 0x40049409
# Bytes copied by one call: a whole file at once takes longer, since the kernel copies by way of its caches.
_CHUNK = 1024 * 1024
# O_NONBLOCK: should it not be a regular file after all, to open it must not hold anybody up.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Transfer:
    """Copies entries from one directory to another.

    Args:
        links: The descriptor of the directory in which files with several names wait for their further names.
        owner: Whose the copies are to be; None where the server is an ordinary user's.
    """

    def __init__(self, links: int, owner: Identity | None) -> None:
        self.owner = owner
        self._links = links
        self._clones = True

    def copy(self, entry: os.DirEntry[str], old: int, new: int) -> None:
        """Copies an entry that is no directory.

        Args:
            entry: The entry.
            old: The descriptor of the directory that it is in.
            new: That of the one that it is copied to.

        Raises:
            OSError: The disk is full, or fails.
        """
        if entry.is_file(follow_symlinks=False):
            self._file(entry.name, old, new)
        else:
            self._special(entry.name, entry.stat(follow_symlinks=False), old, new)

    def _file(self, name: str, old: int, new: int) -> None:
        with _readable(name, old) as (reading, status):
            first = str(status.st_ino)
            if status.st_nlink > 1:
                with contextlib.suppress(FileNotFoundError):
                    os.link(first, name, src_dir_fd=self._links, dst_dir_fd=new)
                    return
            writing = os.open(name, _WRITE, 0o600, dir_fd=new)
            try:
                self._contents(reading, writing, status)
                dress(reading, writing, status, self.owner)
            finally:
                os.close(writing)
        if status.st_nlink > 1:
            os.link(name, first, src_dir_fd=new, dst_dir_fd=self._links)

    def _contents(self, reading: int, writing: int, status: os.stat_result) -> None:
        if status.st_size == 0 or (self._clones and self._cloned(reading, writing)):
            return
        if status.st_blocks * 512 >= status.st_size:
            _copy_range(reading, writing, 0, status.st_size)
            return
        os.ftruncate(writing, status.st_size)
        for start, end in _extents(reading, status.st_size):
            _copy_range(reading, writing, start, end)

    def _cloned(self, reading: int, writing: int) -> bool:
        """Whether the two files share their blocks now; a file system that cannot is asked once."""
        try:
            fcntl.ioctl(writing, _CLONE, reading)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            self._clones = False
        return self._clones

    def _special(self, name: str, status: os.stat_result, old: int, new: int) -> None:
        """Copies a link, a FIFO, a socket, or overlayfs's mark for what was removed."""
        link = stat.S_ISLNK(status.st_mode)
        if link:
            os.symlink(os.readlink(name, dir_fd=old), name, dir_fd=new)
        elif stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode) or _marks_removal(status):
            os.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev, dir_fd=new)
        else:
            return  # a device: nothing inside can make one
        if self.owner is not None:
            os.chown(name, self.owner.uid, self.owner.gid, dir_fd=new, follow_symlinks=False)
        if not link:
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=new)
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=new, follow_symlinks=False)


def dress(old: int, new: int, status: os.stat_result, owner: Identity | None) -> None:
    """Gives a copy its attributes.

    Args:
        old: The original's descriptor.
        new: The copy's.
        status: The original's status.
        owner: Whose the copy is to be; None for whose it is.
    """
    for attribute in os.listxattr(old):
        # Of the others none was set from inside, and the copy may have its own, as from a policy of the host's.
        if attribute.startswith("user."):
            os.setxattr(new, attribute, os.getxattr(old, attribute))
    if owner is not None:
        os.chown(new, owner.uid, owner.gid)
    # After the owner, whose change takes bits away.
    os.chmod(new, stat.S_IMODE(status.st_mode))
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextlib.contextmanager
def _readable(name: str, above: int) -> Iterator[tuple[int, os.stat_result]]:
    """Opens a file that its owner may not read, too; gives its descriptor, and its status as it was."""
    try:
        descriptor = os.open(name, _READ, dir_fd=above)
        status = os.fstat(descriptor)
    except PermissionError:
        descriptor, status = _open_closed(name, above)
    try:
        yield descriptor, status
    finally:
        os.close(descriptor)


def _open_closed(name: str, above: int) -> tuple[int, os.stat_result]:
    place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        status = os.fstat(place)
        # By the descriptor: chmod(2) follows links.
        path = Path(f"/proc/self/fd/{place}")
        path.chmod(0o400)
        try:
            return os.open(path, _READ & ~os.O_NOFOLLOW), status
        finally:
            path.chmod(stat.S_IMODE(status.st_mode))
    finally:
        os.close(place)


def _marks_removal(status: os.stat_result) -> bool:
    """Whether this is a device 0:0, by which overlayfs remembers that a name is gone; any user may make one."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _copy_range(reading: int, writing: int, start: int, end: int) -> None:
    """Copies a part of a file to the same place in another."""
    try:
        while start < end and (count := os.copy_file_range(reading, writing, min(end - start, _CHUNK), start, start)):
            start += count
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    # Of file systems that have no such call the whole is left, else nothing.
    os.lseek(writing, start, os.SEEK_SET)
    while start < end and (count := os.sendfile(writing, reading, start, end - start)):
        start += count


def _extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Gives where a file's contents begin and end, between its holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole follows
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, min(end, size)
