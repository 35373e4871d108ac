"""A sandbox's directory on the host: its files, locked while it runs.

::

    <directory>/     0700, locked with flock
    ├── home/        /home/user
    ├── root/        /root
    ├── tmp/         /tmp
    ├── usr.up/      the writable layer over /usr
    └── usr.wk/      overlayfs's own

The directory itself shows nowhere inside, only what is beneath those five does: so nothing that lies directly in it
can have been planted.
"""

from __future__ import annotations

import fcntl
import os
import stat
from functools import cache
from pathlib import Path
from typing import Self

from e2b_magic.embedded.containment import identity
from e2b_magic.embedded.containment.identity import Identity
from e2b_magic.exceptions import ConfigurationError

# Directories of /usr in which a sandbox may change things, as far as the host has them: to install with pip, with npm,
# with make. The layer's directories belong to the sandbox; of any other, the host's owner and mode hold inside too.
OPEN_IN_USR = ("bin", "include", "lib", "lib/node_modules", "share", "share/man", "share/man/man1")
LOCAL = ("bin", "etc", "include", "lib", "lib/node_modules", "sbin", "share", "share/man", "share/man/man1", "src")
WRITABLE = {"home": 0o755, "root": 0o700, "tmp": 0o1777, "usr.up": 0o755}
_ALL = {**WRITABLE, "usr.wk": 0o700}


class StateDirectory:
    """One sandbox's directory, held by a lock.

    Attributes:
        path: Where it is.
        identity: Whose it is, where the daemon is root's.
    """

    def __init__(self, path: Path, owner: Identity | None, descriptor: int) -> None:
        self.path = path
        self.identity = owner
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: Path, *, empty: bool = False, usr: Path = Path("/usr")) -> Self:
        """Makes the directory, or takes one that a sandbox left.

        Args:
            path: Where it is.
            empty: Whether what lies in it comes from elsewhere, and nothing is made.
            usr: What the layer lies over.

        Raises:
            ConfigurationError: Another sandbox has it, or it is not a directory of ours.
            ContainmentError: Root has no user id to give it to.
        """
        owner = identity.choose(path)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _own(descriptor, owner)
            if not empty:
                _fill(descriptor, owner, usr)
        except BlockingIOError:
            os.close(descriptor)
            raise ConfigurationError(f"A sandbox is running in {path}; each needs a directory of its own.") from None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, owner, descriptor)

    def fileno(self) -> int:
        """Gives the directory's descriptor."""
        return self._descriptor

    def close(self) -> None:
        """Lets go of the lock; the files stay."""
        # By name: a program that another thread starts just now has a copy of the descriptor until it is executed, and
        # with it the lock, which would refuse whoever starts a sandbox on these files next.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)


@cache
def _open_in_usr(usr: Path) -> tuple[str, ...]:
    """Gives the directories to make in the layer over /usr, each after the one it lies in."""
    packages = [*usr.glob("lib/python3*/dist-packages"), *usr.glob("local/lib/python3*/*-packages")]
    found = {parent for path in packages for parent in (path, *path.parents) if parent.is_relative_to(usr)}
    found |= {usr / name for name in OPEN_IN_USR} | {usr / "local"} | {usr / "local" / name for name in LOCAL}
    return tuple(sorted(str(path.relative_to(usr)) for path in found if path != usr and _is_plain(path)))


def _is_plain(path: Path) -> bool:
    """Whether a directory is there, and not a link to one: a directory in the layer would replace the link."""
    return path.is_dir() and path.resolve() == path


def _fill(directory: int, owner: Identity | None, usr: Path) -> None:
    """Makes what is missing; in a layer that a sandbox has had, nothing: what is not there, it may have removed."""
    fresh = "usr.up" not in os.listdir(directory)
    for name, mode in _ALL.items():
        _make(directory, name, mode, owner)
    for name in _open_in_usr(usr) if fresh else ():
        _make(directory, f"usr.up/{name}", 0o755, owner)


def _own(descriptor: int, owner: Identity | None) -> None:
    if owner is not None:
        os.fchown(descriptor, owner.uid, owner.gid)
    elif os.fstat(descriptor).st_uid != os.geteuid():
        raise ConfigurationError("The sandbox's directory belongs to another user.")
    os.fchmod(descriptor, 0o700)


def _make(directory: int, name: str, mode: int, owner: Identity | None) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=directory)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise ConfigurationError(f"{name} in the sandbox's directory is not a directory.") from None
        return
    if owner is not None:
        os.chown(name, owner.uid, owner.gid, dir_fd=directory, follow_symlinks=False)
    os.chmod(name, mode, dir_fd=directory)
