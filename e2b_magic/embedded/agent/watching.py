"""Watches directories, and tells what happens in them as E2B's envd tells it.

One inotify serves all watches of a sandbox, since a user may have few of them. It numbers directories, not paths: the
table from number to path follows what is renamed. A directory that is made beneath a recursive watch is watched, and
told of with what is in it already, before the next request is looked at (`Agent` drains the events before each one),
so that nothing which the client does in it afterwards is missed.

A rename is two events: `rename` of the old name, `create` of the new.
"""

from __future__ import annotations

import errno
import os
from select import EPOLLIN

from e2b_magic.embedded.agent import inotify
from e2b_magic.embedded.agent.failures import Failure, of_system
from e2b_magic.embedded.agent.users import resolve
from e2b_magic.embedded.agent.watcher import Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2b_magic.embedded.agent.loop import Loop
    from e2b_magic.embedded.agent.watcher import Answer

# Watches at once, and directories in all of them. The kernel bounds the latter too, for a user: often at 65,536.
MOST_WATCHERS = 64
MOST_DIRECTORIES = 16_384
_KINDS = (
    (inotify.CREATE | inotify.MOVED_TO, "create"),
    (inotify.DELETE | inotify.DELETE_SELF, "remove"),
    (inotify.MOVED_FROM | inotify.MOVE_SELF, "rename"),
    (inotify.ATTRIB, "chmod"),
    (inotify.MODIFY, "write"),
)
_TOO_MANY = f"too many directories are watched: a sandbox may watch {MOST_DIRECTORIES}, and its host may allow fewer"


class Watching:
    """The watches of a sandbox.

    Args:
        loop: The agent's loop.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._watchers: dict[int, Watcher] = {}
        self._inotify: inotify.Inotify | None = None
        self._paths: dict[int, str] = {}
        # What was found, and told of, in a new directory; and by the rename's cookie, which directory left its place.
        # Beside each the round of reading in which that was. One round later all is read that the kernel had to say
        # about it.
        self._round = 0
        self._found: dict[str, int] = {}
        self._departed: dict[int, tuple[int, str]] = {}

    def create(self, number: int, path: str, user: str, *, recursive: bool, include_entry: bool) -> Iterator[None]:
        """Begins to watch a directory.

        Args:
            number: What the watch is called from now on.
            path: The directory.
            user: Whose path it is.
            recursive: Whether to watch what lies deeper too.
            include_entry: Whether to tell of a file what `stat` tells.

        Raises:
            Failure: `not_found`, `invalid_argument` for what is no directory, `exhausted` for one watch too many.
        """
        shown = resolve(path, user)
        if len(self._watchers) >= MOST_WATCHERS:
            raise Failure("exhausted", f"a sandbox may have {MOST_WATCHERS} watches at once: remove one")
        watcher = Watcher(shown, os.path.realpath(shown), recursive=recursive, include_entry=include_entry)
        self._watchers[number] = watcher
        try:
            self._open()
            watcher.number = self._add(watcher.root)
            for _ in self._add_below(watcher.root) if recursive else ():
                yield
                self._find(number)  # it may be removed before it has begun
        except BaseException as error:
            self._watchers.pop(number, None)
            self._prune()
            if isinstance(error, NotADirectoryError):
                raise Failure("invalid_argument", f"path '{shown}' is not a directory") from None
            if isinstance(error, OSError):
                raise of_system(error, shown) from None
            raise
        yield

    def remove(self, number: int) -> None:
        """Ends a watch.

        Raises:
            Failure: `not_found`.
        """
        self._find(number).end(Failure("not_found", "the watch was removed"))
        del self._watchers[number]
        self._prune()

    def forget(self, number: int) -> None:
        """Ends a watch, if there is one."""
        if number in self._watchers:
            self.remove(number)

    def next(self, number: int, answer: Answer, *, wait: bool) -> None:
        """Answers with what a watch has seen and not told yet (see `Watcher.next`).

        Raises:
            Failure: `not_found`.
        """
        self._find(number).next(answer, wait=wait)

    def _find(self, number: int) -> Watcher:
        if number not in self._watchers:
            raise Failure("not_found", "there is no such watch")
        return self._watchers[number]

    def drain(self) -> None:
        """Takes down all that has happened until now, and tells those who wait."""
        if self._inotify is None:
            return
        self._round += 1
        for number, mask, cookie, name in self._inotify.read():
            self._take(number, mask, cookie, name)
        self._found = {path: found for path, found in self._found.items() if found == self._round}
        for cookie, (left, path) in list(self._departed.items()):
            if left < self._round:
                self._forget_departed(cookie, path)
        for watcher in list(self._watchers.values()):
            watcher.flush()

    def _take(self, number: int, mask: int, cookie: int, name: str) -> None:
        if mask & inotify.QUEUE_OVERFLOW:
            self._recover()
        elif mask & inotify.IGNORED:
            self._paths.pop(number, None)
        elif (directory := self._paths.get(number)) is not None and (kind := _kind(mask)):
            if name:
                self._take_of(directory, f"{directory.rstrip('/')}/{name}", mask, kind, cookie)
            else:
                self._take_of_itself(number, kind)

    def _take_of(self, directory: str, path: str, mask: int, kind: str, cookie: int) -> None:
        """Takes down what happened to something in a directory."""
        found = self._found.pop(path, None) is not None
        if found and mask & inotify.CREATE:
            return
        if mask & inotify.MOVED_FROM and mask & inotify.IS_DIRECTORY:
            self._departed[cookie] = (self._round, path)
        self._tell(kind, directory, path)
        if mask & inotify.IS_DIRECTORY and kind == "create":
            self._arrive(path, cookie, new=bool(mask & inotify.CREATE))

    def _take_of_itself(self, number: int, kind: str) -> None:
        """Takes down what happened to a watched directory; of one below a watch, the directory above it tells."""
        for watcher in self._watchers.values():
            if watcher.number == number:
                watcher.tell(kind, watcher.root)
                if kind in ("remove", "rename"):
                    watcher.number = -1
        if kind in ("remove", "rename"):
            self._prune()

    def _tell(self, kind: str, directory: str, path: str) -> None:
        for watcher in self._watchers.values():
            if watcher.wants(directory):
                watcher.tell(kind, path)

    def _arrive(self, path: str, cookie: int, *, new: bool) -> None:
        """Watches a directory that came to be, where that is wanted."""
        if cookie in self._departed:
            self._rename(self._departed.pop(cookie)[1], path)
        for other, (_, old) in list(self._departed.items()):
            if old == path:  # another directory, whose watches must not be taken for those of this one
                self._forget_departed(other, old)
        if any(watcher.recursive and watcher.wants(path) for watcher in self._watchers.values()):
            self._catch_up(path, tell=new)

    def _catch_up(self, path: str, *, tell: bool) -> None:
        try:
            self._add(path)
            for _ in self._add_below(path, tell=tell):
                pass
        except FileNotFoundError:
            return  # gone already, of which there is an event
        except Failure as failure:
            for watcher in self._watchers.values():
                watcher.lose(failure.message)

    def _recover(self) -> None:
        """Watches what may have come to be while the kernel dropped events."""
        for watcher in list(self._watchers.values()):
            watcher.lose("more has happened at once than the kernel could keep")
            if watcher.recursive and watcher.number >= 0:
                self._catch_up(watcher.root, tell=False)

    def _open(self) -> None:
        if self._inotify is None:
            self._inotify = inotify.Inotify()
            self._loop.watch(self._inotify.descriptor, EPOLLIN, self.drain)

    def _add(self, path: str) -> int:
        """Watches one directory.

        Raises:
            OSError: It is gone or may not be read.
            Failure: `exhausted`.
        """
        assert self._inotify is not None  # noqa: S101 - for the type checker: there is a watch
        try:
            number = self._inotify.add(path)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise Failure("exhausted", _TOO_MANY) from None
            error.filename = path
            raise
        if number not in self._paths and len(self._paths) >= MOST_DIRECTORIES:
            self._inotify.remove(number)
            raise Failure("exhausted", _TOO_MANY)
        self._paths[number] = path
        return number

    def _add_below(self, top: str, *, tell: bool = False) -> Iterator[None]:
        """Watches every directory below one that is watched, one after the other.

        Args:
            top: The directory.
            tell: Whether to tell of what is there, since nobody knows of it.

        Raises:
            Failure: `exhausted`.
        """
        pending = [top]
        while pending:
            directory = pending.pop()
            for path, is_directory in _children(directory):
                if tell and path not in self._found:
                    self._found[path] = self._round
                    self._tell("create", directory, path)
                if is_directory:
                    try:
                        self._add(path)
                    except OSError:
                        continue  # gone, or not to be read: what happens in it cannot be known
                    pending.append(path)
            yield

    def _rename(self, old: str, new: str) -> None:
        for number, path in self._paths.items():
            if path == old or path.startswith(old + "/"):
                self._paths[number] = new + path[len(old) :]
        self._prune()

    def _forget_departed(self, cookie: int, top: str) -> None:
        """Watches no longer a directory that was moved to where nobody looks."""
        del self._departed[cookie]
        for number, path in list(self._paths.items()):
            if path == top or path.startswith(top + "/"):
                self._drop(number)

    def _prune(self) -> None:
        """Watches no longer what no watch is about; without a watch, nothing."""
        for number, path in list(self._paths.items()):
            if not any(watcher.wants(path) for watcher in self._watchers.values()):
                self._drop(number)
        if not self._watchers and self._inotify is not None:
            self._loop.watch(self._inotify.descriptor, 0, self.drain)
            self._inotify.close()
            self._inotify = None
            self._found.clear()
            self._departed.clear()

    def _drop(self, number: int) -> None:
        assert self._inotify is not None  # noqa: S101 - for the type checker: it gave the number
        self._inotify.remove(number)
        del self._paths[number]


def _kind(mask: int) -> str:
    return next((kind for bits, kind in _KINDS if mask & bits), "")


def _children(directory: str) -> list[tuple[str, bool]]:
    """Gives the paths in a directory, and which of them are directories themselves; none of what cannot be read."""
    try:
        with os.scandir(directory) as entries:
            return [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except OSError:
        return []
