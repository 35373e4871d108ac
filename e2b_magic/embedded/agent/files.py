"""What is done to one file, by the kernel's own rules and with the rights of the sandbox's user."""

from __future__ import annotations

import os
import stat

from e2b_magic.embedded.agent.entries import METADATA_PREFIX, describe
from e2b_magic.embedded.agent.failures import Failure, of_system
from e2b_magic.embedded.agent.users import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Of a file in /proc the daemon gets a copy, up to this.
PROC_BYTES = 4 * 1024 * 1024
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
    make_parents(path)
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


def make_parents(path: str) -> None:
    """Makes the directories that lead to a path.

    Raises:
        Failure: `not_a_directory` and whatever else the system says.
    """
    parent = path.rpartition("/")[0] or "/"
    try:
        os.makedirs(parent, 0o755, exist_ok=True)  # noqa: PTH103 - no pathlib: 9 ms of every start
    except FileExistsError:
        raise Failure("not_a_directory", f"'{parent}' is not a directory") from None
    except OSError as error:
        raise of_system(error, parent) from None
