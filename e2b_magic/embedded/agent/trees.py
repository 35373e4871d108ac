"""What is done to directories and all in them, by the kernel's own rules and with the rights of the sandbox's user.

What takes long is a generator that yields between slices, so that the agent goes on answering meanwhile.
"""

from __future__ import annotations

import os
import stat

from e2b_magic.embedded.agent.channel import ANSWER_LIMIT
from e2b_magic.embedded.agent.entries import describe
from e2b_magic.embedded.agent.failures import Failure, of_system
from e2b_magic.embedded.agent.files import OPEN_FLAGS, make_parents, tell
from e2b_magic.embedded.agent.users import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# How many entries are looked at, or removed, in one slice of long work: about a millisecond.
SLICE = 200
COPY_BYTES = 8 * 1024 * 1024
# About what an entry takes in an answer beside its path, which is told twice.
ENTRY_BYTES = 250


def make_directory(path: str, user: str) -> dict[str, Any]:
    """Makes a directory and its parents; gives its entry.

    Raises:
        Failure: `already_exists`; `invalid_argument` when a file stands there.
    """
    path = resolve(path, user)
    if os.path.isdir(path):  # noqa: PTH112 - no pathlib
        raise Failure("already_exists", f"directory already exists: {path}")
    if os.path.lexists(path):
        raise Failure("invalid_argument", f"path already exists but it is not a directory: {path}")
    make_parents(path + "/")
    return tell(path, user)


def list_directory(path: str, user: str, depth: int) -> Iterator[list[dict[str, Any]] | None]:
    """Gives the entries below a directory, by name, each directory's own right after it; last of all, the list.

    Args:
        path: The directory.
        user: Whose path it is.
        depth: How many levels; below 1 means 1.

    Raises:
        Failure: `not_found`; `invalid_argument` for a file.
    """
    path = resolve(path, user)
    if os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112 - no pathlib
        raise Failure("invalid_argument", f"path is not a directory: {path}")
    found: list[dict[str, Any]] = []
    told = 0
    levels = [_names(path, path)]
    while levels:
        if not levels[-1]:
            levels.pop()
            continue
        child = levels[-1].pop()
        try:
            status = os.lstat(child)
            found.append(describe(child, status))
        except OSError:
            continue  # gone since its directory was read
        told += 2 * len(child) + ENTRY_BYTES
        if told > ANSWER_LIMIT:
            raise Failure(
                "exhausted", f"'{path}' holds too much to be listed at once: list it with a command, such as ls"
            )
        if stat.S_ISDIR(status.st_mode) and len(levels) < max(depth, 1):
            levels.append(_names(child, path))
        if len(found) % SLICE == 0:
            yield None
    yield found


def _names(directory: str, top: str) -> list[str]:
    """Gives the paths in a directory, last name first; none in one below the top that cannot be read."""
    try:
        names = sorted(os.listdir(directory), reverse=True)  # noqa: PTH208 - no pathlib
    except OSError as error:
        if directory == top:
            raise of_system(error, directory) from None
        return []
    prefix = directory.rstrip("/")
    return [f"{prefix}/{name}" for name in names]


def remove(path: str, user: str) -> Iterator[None]:
    """Removes a file, or a directory with all in it; what is not there is removed already.

    Raises:
        Failure: `permission_denied` and whatever else the system says.
    """
    path = resolve(path, user)
    count = 0
    pending = [path]
    while pending:
        target = pending[-1]
        try:
            try:
                os.unlink(target)  # noqa: PTH108 - no pathlib
            except (IsADirectoryError, PermissionError):
                # POSIX lets `unlink` of a directory fail with either.
                if below := [f"{target}/{name}" for name in os.listdir(target)]:  # noqa: PTH208 - no pathlib
                    pending.extend(below)
                    continue
                os.rmdir(target)  # noqa: PTH106 - no pathlib
        except FileNotFoundError:
            pass
        except OSError as error:
            raise of_system(error, target) from None
        pending.pop()
        count += 1
        if count % SLICE == 0:
            yield


def move(source: str, destination: str, user: str) -> Iterator[dict[str, Any] | None]:
    """Moves a file or directory, with the destination's parents made; last of all gives the entry.

    `/home/user`, `/tmp` and `/usr` are mounts of their own, between which `rename` does not go: there it is copied,
    then removed.

    Raises:
        Failure: `not_found` and whatever else the system says.
    """
    origin, target = resolve(source, user), resolve(destination, user)
    if not os.path.lexists(origin):
        raise Failure("not_found", f"path '{origin}' does not exist")
    make_parents(target)
    try:
        os.rename(origin, target)  # noqa: PTH104 - no pathlib
    except OSError as error:
        if error.errno != 18:  # EXDEV
            raise of_system(error, target) from None
        yield from copy(origin, target)
        yield from remove(origin, user)
    yield tell(target, user)


def copy(origin: str, target: str) -> Iterator[None]:
    """Copies a tree: files, directories and links, with their modes.

    Raises:
        Failure: Whatever the system says.
    """
    modes: list[tuple[str, int]] = []
    pending = [(origin, target)]
    # Not by recursion: a tree may be deeper than Python's stack.
    while pending:
        source, sink = pending.pop()
        try:
            mode = os.lstat(source).st_mode
            if stat.S_ISDIR(mode):
                os.mkdir(sink, 0o700)  # noqa: PTH102 - no pathlib
                modes.append((sink, stat.S_IMODE(mode)))
                pending += [(f"{source}/{name}", f"{sink}/{name}") for name in os.listdir(source)]  # noqa: PTH208 - no pathlib
            elif stat.S_ISLNK(mode):
                os.symlink(os.readlink(source), sink)  # noqa: PTH115, PTH211 - no pathlib
            elif stat.S_ISREG(mode):
                yield from _copy_file(source, sink, stat.S_IMODE(mode))
            else:
                raise Failure("invalid_argument", f"'{source}' is neither a file, a directory nor a link")
        except OSError as error:
            raise of_system(error, sink) from None
        yield
    # Last, the deepest first: a directory that its owner may not write to could not be filled.
    for directory, mode in reversed(modes):
        os.chmod(directory, mode)  # noqa: PTH101 - no pathlib


def _copy_file(origin: str, target: str, mode: int) -> Iterator[None]:
    source = os.open(origin, os.O_RDONLY | OPEN_FLAGS)
    try:
        sink = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | OPEN_FLAGS, 0o600)
        try:
            while os.sendfile(sink, source, None, COPY_BYTES):
                yield
            os.fchmod(sink, mode)
        finally:
            os.close(sink)
    finally:
        os.close(source)
