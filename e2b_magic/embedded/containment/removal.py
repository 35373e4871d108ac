"""The directories that sandboxes keep their files in, and how they go away.

A sandbox decides what lies in its directory: directories that nobody may enter, or that are nested deeper than any
path or stack reaches. Nothing of it runs any more when its directory is removed: of a server that was killed, what
still runs is ended first.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import logging
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from e2b_magic.embedded.containment import leftover
from e2b_magic.exceptions import EmbeddedServerError

_log = logging.getLogger(__name__)
# What a server makes there: a sandbox's id, and the preflight's trial. Nothing by another name is ever removed.
_NAME = re.compile(r"i[0-9a-f]{20}|preflight-[a-z0-9_]{8}")
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
            _empty(top)
    except FileNotFoundError:
        return
    directory.rmdir()


def _empty(top: int) -> None:
    # Names that no removal before has used: one that was broken off, as by a kill, has left its own.
    mark = secrets.token_hex(8)
    names = (f"removed-{mark}-{number}" for number in itertools.count())
    # pathlib knows no directory by its descriptor.
    while found := os.listdir(top):
        for name in found:
            _remove(top, name, names)


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


def reclaim(directory: Path, keep: str | None = None) -> list[str]:
    """Removes what sandboxes of servers that are no more have left behind, and gives their names.

    Whatever else lies there, a link above all, stays as it is; so does a directory that cannot be removed, which the
    log tells of: neither is a reason to serve nobody.

    Args:
        directory: Where the sandboxes' directories lie; each is locked as long as its sandbox lives.
        keep: The name of the file that a directory holds which is not to go; None for none.

    Raises:
        EmbeddedServerError: It is a link or no directory, or another user's.
    """
    try:
        with _opened(directory) as states:
            if os.fstat(states).st_uid != os.geteuid():
                raise EmbeddedServerError(f"{directory} belongs to another user: move it away")
            names = sorted(filter(_NAME.fullmatch, os.listdir(states)))  # noqa: PTH208 - names alone are wanted
            return [name for name in names if _reclaim(states, name, keep)]
    except NotADirectoryError as error:
        raise EmbeddedServerError(f"{directory} is a link, or no directory: move it away") from error


def _reclaim(states: int, name: str, keep: str | None) -> bool:
    """Whether a sandbox's directory was left behind, and now is gone."""
    try:
        with _opened(name, states) as state:
            fcntl.flock(state, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.end(os.fstat(state).st_uid, Path(name))
            if keep in os.listdir(state):  # noqa: PTH208 - pathlib knows no directory by its descriptor
                return False
            _empty(state)
            os.rmdir(name, dir_fd=states)
    except BlockingIOError:
        return False
    except OSError as error:
        _log.warning("%s, which a sandbox may have left, stays: %s", name, error)
        return False
    return True
