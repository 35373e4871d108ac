"""The kernel's inotify(7), as far as watching directories needs it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# linux/inotify.h
MODIFY, ATTRIB, MOVED_FROM, MOVED_TO = 0x2, 0x4, 0x40, 0x80
CREATE, DELETE, DELETE_SELF, MOVE_SELF = 0x100, 0x200, 0x400, 0x800
QUEUE_OVERFLOW, IGNORED, IS_DIRECTORY = 0x4000, 0x8000, 0x40000000
_ONLY_DIRECTORIES, _NO_LINKS, _EXCEPT_UNLINKED = 0x01000000, 0x02000000, 0x04000000
_EVENTS = MODIFY | ATTRIB | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF
_HEADER = 16
_READ = 65536
_FIONREAD = 0x541B

Event = tuple[int, int, int, str]


class Inotify:
    """One queue of events, and the directories that they come from.

    Attributes:
        descriptor: To wait on.

    Raises:
        OSError: The user has as many of them as it may have (EMFILE).
    """

    def __init__(self) -> None:
        import ctypes  # 3 ms, and most sandboxes watch nothing

        self._library = ctypes.CDLL(None, use_errno=True)
        self._errno = ctypes.get_errno
        self.descriptor = self._call("inotify_init1", os.O_CLOEXEC | os.O_NONBLOCK)

    def _call(self, name: str, *arguments: int | bytes) -> int:
        outcome: int = getattr(self._library, name)(*arguments)
        if outcome < 0:
            number = self._errno()
            raise OSError(number, os.strerror(number))
        return outcome

    def add(self, path: str) -> int:
        """Watches a directory, no link to one; gives its number, the same for the same directory.

        Raises:
            OSError: It is none, is gone, may not be read, or too many are watched (ENOSPC).
        """
        flags = _EVENTS | _ONLY_DIRECTORIES | _NO_LINKS | _EXCEPT_UNLINKED
        return self._call("inotify_add_watch", self.descriptor, os.fsencode(path), flags)

    def remove(self, number: int) -> None:
        """Watches a directory no longer; one that is gone is not watched already."""
        try:
            self._call("inotify_rm_watch", self.descriptor, number)
        except OSError:
            return

    def read(self) -> Iterator[Event]:
        """Gives what has happened until now: the directory's number, what, what it belongs to, and the name in it.

        No more than that: whoever goes on changing files could hold the reader for ever.
        """
        import fcntl

        left = int.from_bytes(fcntl.ioctl(self.descriptor, _FIONREAD, bytes(4)), "little")
        while left > 0:
            data = os.read(self.descriptor, _READ)
            left -= len(data)
            yield from _events(data)

    def close(self) -> None:
        """Watches nothing any more."""
        os.close(self.descriptor)


def _events(data: bytes) -> Iterator[Event]:
    position = 0
    while position < len(data):
        name_at = position + _HEADER
        number, mask, cookie, length = memoryview(data)[position:name_at].cast("I")
        position = name_at + length
        yield number, mask, cookie, os.fsdecode(data[name_at:position].rstrip(b"\0"))
