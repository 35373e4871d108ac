"""Lets an unprivileged user reach what only root can: bind mounts in a mount namespace of the launcher's thread.

A daemon of root's gives each sandbox to a user id of its own, and bubblewrap runs as that user. What it needs (itself,
the interpreter, the state directory) may lie beneath `/root`, which nobody else may enter. So one thread of the daemon
has a mount namespace of its own, with a small file system at `/run/e2b-magic` in which these are bound. No other
thread and no other process sees it, and it is gone with the daemon.

Copying was the other way: an interpreter is 100 MB and more. Opening things up to the user id would change the host.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Protocol

POINT = Path("/run/e2b-magic")
# linux/sched.h, linux/mount.h
CLONE_NEWNS = 0x00020000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_SLAVE = 0x2, 0x4, 0x1000, 0x4000, 0x80000
MNT_DETACH = 0x2


class Stage(Protocol):
    """Where bubblewrap finds what it needs."""

    def show(self, source: Path, name: str) -> Path:
        """Gives the path at which bubblewrap can reach a file or directory."""

    def hide(self, name: str) -> None:
        """Ends what `show` did."""


class Open:
    """The stage of an ordinary user, whose bubblewrap reaches what the daemon reaches."""

    def show(self, source: Path, name: str) -> Path:
        """Gives the source itself."""
        return source

    def hide(self, name: str) -> None:
        """Does nothing."""


def _call(name: str, *arguments: object) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _mount(source: str, target: Path, kind: str, flags: int, data: str = "") -> None:
    _call("mount", source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode())


class Private:
    """The stage of root: made and used by one thread alone, whose mount namespace it is.

    Raises:
        OSError: The machine does not let this root mount (EPERM in most containers).
    """

    def __init__(self) -> None:
        POINT.mkdir(mode=0o755, exist_ok=True)
        _call("unshare", CLONE_NEWNS)
        # Slave: what the host unmounts goes away here too, and nothing that is mounted here shows on the host.
        _mount("", Path("/"), "", MS_REC | MS_SLAVE)
        _mount("tmpfs", POINT, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m")

    def show(self, source: Path, name: str) -> Path:
        """Binds a file or directory where everyone in this namespace can reach it."""
        point = POINT / name
        if source.is_dir():
            point.mkdir(parents=True)
        else:
            point.parent.mkdir(parents=True, exist_ok=True)
            point.touch()
        _mount(str(source), point, "", MS_BIND)
        return point

    def hide(self, name: str) -> None:
        """Takes a binding away; who started with it keeps it."""
        point = POINT / name
        _call("umount2", os.fsencode(point), MNT_DETACH)
        if point.is_dir():
            point.rmdir()
        else:
            point.unlink()
