"""The directory that a server keeps what is its own in: made, and believed only where it is its user's alone."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from e2b_magic.exceptions import EmbeddedServerError


@contextlib.contextmanager
def usable(directory: Path) -> Iterator[None]:
    """Makes what the system says against a directory an error that says what to do.

    Raises:
        EmbeddedServerError: It cannot be made, entered or written.
    """
    try:
        yield
    except TimeoutError:  # of a lock that others hold: nothing is said against the directory
        raise
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise EmbeddedServerError(
            f"The embedded server cannot use {directory} ({why}): set E2B_MAGIC_DIRECTORY to a directory of your own"
        ) from error


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[int]:
    """Gives a descriptor of a directory."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_private(status: os.stat_result) -> bool:
    """Whether something is ours, and may be written by nobody else."""
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def require_private(descriptor: int, directory: Path) -> None:
    """Lets a directory be used that is ours, and that nobody else may write.

    Raises:
        EmbeddedServerError: It is not.
    """
    if not is_private(os.fstat(descriptor)):
        raise EmbeddedServerError(
            f"{directory} must belong to you, and be writable by nobody else, for the embedded server to be trusted: "
            "see `ls -ld`, then `chown` or `chmod go-w` it, or move it away"
        )


def make_directory(directory: Path) -> None:
    """Makes a server's directory, if there is none.

    Raises:
        EmbeddedServerError: It cannot be made or used, is another user's, or others may write it.
    """
    with usable(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with opened(directory) as descriptor:
            require_private(descriptor, directory)


def require_files(directory: Path, *names: str) -> None:
    """Lets a directory be used in which nothing but a file stands where the server keeps one.

    Nothing else is put there by the server, so it is for whoever did to say what becomes of it.

    Raises:
        EmbeddedServerError: It names what stands in the way.
    """
    for name in names:
        path = directory / name
        with usable(directory), contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(path.lstat().st_mode):
                raise EmbeddedServerError(f"{path} is no file, as the embedded server needs it to be: move it away")
