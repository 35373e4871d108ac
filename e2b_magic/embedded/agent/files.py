"""The file operations, each by the kernel's own rules and with the rights of the sandbox's user.

What takes long is a generator that yields between slices, so that the agent goes on answering meanwhile.
"""

from __future__ import annotations

import os
import stat

from e2b_magic.embedded.agent.channel import ANSWER_LIMIT
from e2b_magic.embedded.agent.entries import METADATA_PREFIX, describe
from e2b_magic.embedded.agent.failures import Failure, of_system
from e2b_magic.embedded.agent.users import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

# How many entries are looked at, or removed, in one slice of long work: about a millisecond.
SLICE = 200
COPY_BYTES = 8 * 1024 * 1024
# Of a file in /proc the daemon gets a copy, up to this.
PROC_BYTES = 4 * 1024 * 1024
# About what an entry takes in an answer beside its path, which is told twice.
ENTRY_BYTES = 250
# O_NONBLOCK: a FIFO must not hold the agent; O_NOCTTY: a terminal must not become its own.
OPEN_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def tell(path: str, user: str) -> dict[str, Any]:
    """Gives the entry at a path.

    Raises:
        Failure: `not_found` and whatever else the system says.
    """
    path = resolve(path, user)
    try:
        return describe(path)
    except OSError as error:
        raise of_system(error, path) from None


def open_read(path: str, user: str) -> tuple[int, dict[str, Any]]:
    """Opens a regular file for reading; gives its descriptor and entry.

    Raises:
        Failure: `not_found`, `is_a_directory`, `invalid_argument` for what is neither file nor directory.
    """
    path = resolve(path, user)
    try:
        descriptor = os.open(path, os.O_RDONLY | OPEN_FLAGS)
    except OSError as error:
        raise of_system(error, path) from None
    descriptor, entry = _checked(descriptor, path)
    return (_copy_of(descriptor, path) if _is_of_proc(descriptor) else descriptor), entry


def _is_of_proc(descriptor: int) -> bool:
    return os.fstat(descriptor).st_dev == os.stat("/proc").st_dev  # noqa: PTH116 - no pathlib


def _copy_of(descriptor: int, path: str) -> int:
    """Gives, in the place of a file of /proc, a file in memory with what the sandbox itself may read there.

    The kernel answers such files by who reads them; the daemon must not be the one, and would refuse.

    Raises:
        Failure: It cannot be read, or has more than `PROC_BYTES`.
    """
    try:
        content = b""
        while len(content) <= PROC_BYTES and (data := os.read(descriptor, 65536)):
            content += data
    except OSError as error:
        raise of_system(error, path) from None
    finally:
        os.close(descriptor)
    if len(content) > PROC_BYTES:
        raise Failure("invalid_argument", f"'{path}' is not a file on disk, and too long to be read as one")
    copied = os.memfd_create("proc", os.MFD_CLOEXEC)
    os.pwrite(copied, content, 0)
    return copied


def open_write(path: str, user: str, metadata: Mapping[str, str] | None) -> tuple[int, dict[str, Any]]:
    """Opens a regular file for writing, empty, with its parents made; gives its descriptor and entry.

    Args:
        path: The file's path.
        user: Whose path it is.
        metadata: What replaces the file's metadata; None for nothing.

    Raises:
        Failure: `is_a_directory`, `permission_denied`, `no_space`, `invalid_argument` for what is not a file.
    """
    path = resolve(path, user)
    _make_parents(path)
    try:
        # Not O_TRUNC here: only what proved to be a regular file is emptied.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | OPEN_FLAGS, 0o666)
    except OSError as error:
        raise of_system(error, path) from None
    _check(descriptor, path)
    if _is_of_proc(descriptor):
        os.close(descriptor)
        raise Failure("permission_denied", f"'{path}' is not a file on disk: write it with a command")
    try:
        # E2B's server gives each file to its user, of which who watches is told; here it is the user's already.
        os.fchown(descriptor, os.getuid(), os.getgid())
        # Not where nothing is to be cut off: who watches would be told of a write that was none.
        if os.fstat(descriptor).st_size:
            os.ftruncate(descriptor, 0)
        _replace_metadata(descriptor, metadata or {})
        return descriptor, describe(path)
    except OSError as error:
        os.close(descriptor)
        raise of_system(error, path) from None


def _check(descriptor: int, path: str) -> None:
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise Failure("is_a_directory", f"path '{path}' is a directory")
    raise Failure("invalid_argument", f"path '{path}' is not a regular file")


def _checked(descriptor: int, path: str) -> tuple[int, dict[str, Any]]:
    _check(descriptor, path)
    try:
        return descriptor, describe(path)
    except OSError as error:
        os.close(descriptor)
        raise of_system(error, path) from None


def set_metadata(path: str, user: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Replaces a file's metadata; gives its entry.

    Raises:
        Failure: `not_found`, or `invalid_argument` where the file system keeps none.
    """
    path = resolve(path, user)
    try:
        _replace_metadata(path, metadata)
        return describe(path)
    except OSError as error:
        raise of_system(error, path) from None


def _replace_metadata(target: str | int, metadata: Mapping[str, str]) -> None:
    wanted = {METADATA_PREFIX + name: value.encode() for name, value in metadata.items()}
    try:
        present = [name for name in os.listxattr(target) if name.startswith(METADATA_PREFIX)]
    except OSError:
        present = []  # where none can be listed, none is; setting one will say why
    for name in present:
        if name not in wanted:
            os.removexattr(target, name)
    for name, value in wanted.items():
        os.setxattr(target, name, value)


def _make_parents(path: str) -> None:
    parent = path.rpartition("/")[0] or "/"
    try:
        os.makedirs(parent, 0o755, exist_ok=True)  # noqa: PTH103 - no pathlib: 9 ms of every start
    except FileExistsError:
        raise Failure("not_a_directory", f"'{parent}' is not a directory") from None
    except OSError as error:
        raise of_system(error, parent) from None


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
    _make_parents(path + "/")
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
    _make_parents(target)
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
