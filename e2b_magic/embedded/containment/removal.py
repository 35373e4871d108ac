"""The directories that sandboxes keep their files in, and how they go away.

A sandbox decides what lies in its directory: directories that nobody may enter, or that are nested deeper than any
path or stack reaches. Nothing of it runs any more when its directory is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def _opened(name: str | Path, above: int | None = None) -> Iterator[int]:
    descriptor = os.open(name, _DIRECTORY, dir_fd=above)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def remove_state(directory: Path) -> None:
    """Removes a sandbox's directory with all that is in it; one that is not there is no mistake.

    Every directory found is moved to the top before it is looked into. So neither the depth of the tree nor the
    length of its paths matters, which both are bounded in `shutil.rmtree`.
    """
    try:
        opened = _opened(directory)
        with opened as top:
            names = (f"removed-{number}" for number in itertools.count())
            # pathlib knows no directory by its descriptor.
            while found := os.listdir(top):  # noqa: PTH208
                for name in found:
                    _remove(top, name, names)
    except FileNotFoundError:
        return
    directory.rmdir()


def _enter(above: int, name: str) -> bool:
    """Whether a name is a directory's; if so, makes it one that can be read and changed."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
        return False
    os.chmod(name, 0o700, dir_fd=above)
    return True


def _remove(top: int, name: str, names: Iterator[str]) -> None:
    if not _enter(top, name):
        os.unlink(name, dir_fd=top)
        return
    with _opened(name, top) as directory:
        for child in os.listdir(directory):  # noqa: PTH208 - as above
            if _enter(directory, child):
                os.rename(child, next(names), src_dir_fd=directory, dst_dir_fd=top)
            else:
                os.unlink(child, dir_fd=directory)
    os.rmdir(name, dir_fd=top)


def reclaim(directory: Path) -> list[str]:
    """Removes what sandboxes of servers that are no more have left behind, and gives their names.

    Args:
        directory: Where the sandboxes' directories lie; each is locked as long as its sandbox lives.
    """
    reclaimed = []
    for state in sorted(directory.iterdir()):
        with _opened(state) as descriptor:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            remove_state(state)
            reclaimed.append(state.name)
    return reclaimed
