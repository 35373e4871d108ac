"""Copies single entries of a sandbox's files: regular files, and what is neither file nor directory."""

from __future__ import annotations

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
# Bytes up to which a file is read and written, which takes fewer turns in the kernel than to have it copied there.
_SMALL = 64 * 1024
# O_NONBLOCK: should it not be a regular file after all, to open it must not hold anybody up.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MADE = 0o600


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
        reading, status = _open_readable(name, old)
        try:
            if status.st_nlink == 1:
                self._regular(name, reading, status, new)
            elif not self._another_name(name, str(status.st_ino), new):
                self._regular(name, reading, status, new)
                os.link(name, str(status.st_ino), src_dir_fd=new, dst_dir_fd=self._links)
        finally:
            os.close(reading)

    def _another_name(self, name: str, first: str, new: int) -> bool:
        """Whether a file was copied under another of its names, and has got this one too."""
        try:
            os.link(first, name, src_dir_fd=self._links, dst_dir_fd=new)
        except FileNotFoundError:
            return False
        return True

    def _regular(self, name: str, reading: int, status: os.stat_result, new: int) -> None:
        writing = os.open(name, _WRITE, _MADE, dir_fd=new)
        try:
            self._contents(reading, writing, status)
            dress(reading, writing, status, self.owner, made=_MADE)
        finally:
            os.close(writing)

    def _contents(self, reading: int, writing: int, status: os.stat_result) -> None:
        size = status.st_size
        if size == 0 or (self._clones and self._cloned(reading, writing)):
            return
        whole = status.st_blocks * 512 >= size
        if whole and size <= _SMALL and os.write(writing, os.read(reading, size)) == size:
            return
        if whole:
            _copy_range(reading, writing, 0, size)
            return
        os.ftruncate(writing, size)
        for start, end in _extents(reading, size):
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


def dress(old: int, new: int, status: os.stat_result, owner: Identity | None, *, made: int) -> None:
    """Gives a copy its attributes.

    Args:
        old: The original's descriptor.
        new: The copy's.
        status: The original's status.
        owner: Whose the copy is to be; None for whose it is.
        made: The mode that the copy was made with.
    """
    for attribute in os.listxattr(old):
        # Of the others none was set from inside, and the copy may have its own, as from a policy of the host's.
        if attribute.startswith("user."):
            os.setxattr(new, attribute, os.getxattr(old, attribute))
    if owner is not None:
        os.chown(new, owner.uid, owner.gid)
    # After the owner, whose change takes bits away.
    mode = stat.S_IMODE(status.st_mode)
    if mode != made:
        os.chmod(new, mode)
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))


def _open_readable(name: str, above: int) -> tuple[int, os.stat_result]:
    """Opens a file that its owner may not read, too; gives its descriptor, and its status as it was."""
    try:
        descriptor = os.open(name, _READ, dir_fd=above)
    except PermissionError:
        return _open_closed(name, above)
    return descriptor, os.fstat(descriptor)


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
