"""The server's control groups: one in each tree that it may write to, and below it one for each sandbox.

The kernel bounds, counts and freezes what is in one, from outside. The server's group, `e2b-magic-…`, is made in each
tree that `hierarchies` finds; its directory is locked as long as the server lives. By that lock the next server knows
what a killed one has left, and removes it, processes included.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Self

from e2b_magic.embedded.containment.control_group import ControlGroup, controllers_of, members_of
from e2b_magic.embedded.containment.hierarchies import PROC, Place, find_places, switch_on
from e2b_magic.embedded.containment.limits import Limits

_log = logging.getLogger(__name__)
_PREFIX = "e2b-magic-"


class ControlGroups:
    """The server's own groups; made by `open`."""

    def __init__(self, places: Sequence[Place], locks: Sequence[int]) -> None:
        self._places = places
        self._locks = locks
        # Filled by the server's loop, emptied by the launcher's thread.
        self._left: SimpleQueue[ControlGroup] = SimpleQueue()

    @classmethod
    def open(cls, proc: Path = PROC) -> Self | None:
        """Removes what killed servers left, makes the server's groups, and tries them; None where there can be none.

        Args:
            proc: What is read as `/proc`.
        """
        places, locks = [], []
        name = f"{_PREFIX}{secrets.token_hex(4)}"
        for place in find_places(proc):
            _reclaim(place)
            made = _make(place, name)
            if made is not None:
                places.append(made[0])
                locks.append(made[1])
        groups = cls(places, locks)
        if places and groups._works():
            return groups
        groups.close()
        return None

    @property
    def controllers(self) -> frozenset[str]:
        """What the kernel does for each sandbox (as `ControlGroup.controllers`)."""
        return controllers_of(self._places)

    def _works(self) -> bool:
        """Whether a process can really be moved into a group that is made here."""
        with subprocess.Popen(["/bin/sh", "-c", "read _"], stdin=subprocess.PIPE) as process:
            try:
                group = self.create("trial", Limits())
                group.add(process.pid)
                holds = all(process.pid in members_of(place.path / "trial") for place in self._places)
            except OSError as error:
                _log.info("control groups cannot be used: %s", error)
                return False
            finally:
                process.kill()
        group.end()
        return holds

    def create(self, name: str, limits: Limits) -> ControlGroup:
        """Makes a sandbox's group, with its bounds.

        Raises:
            OSError: The kernel refused.
        """
        for _ in range(self._left.qsize()):
            self.discard(self._left.get())
        directories = [Place(place.version, place.path / name, place.controllers) for place in self._places]
        for place in directories:
            place.path.mkdir(exist_ok=True)
        group = ControlGroup(directories)
        group.limit(limits)
        return group

    def discard(self, group: ControlGroup) -> None:
        """Removes a sandbox's group once its processes have ended; at the latest when the next one is made."""
        if not group.remove():
            self._left.put(group)

    def close(self) -> None:
        """Removes the server's groups, and ends what is still in them."""
        for place, lock in zip(self._places, self._locks, strict=True):
            _end_all(place)
            os.close(lock)


def _make(place: Place, name: str) -> tuple[Place, int] | None:
    """Makes a server's group and locks it; None where the kernel refuses."""
    path = place.path / name
    try:
        path.mkdir(mode=0o755)
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        _log.info("no control group can be made in %s: %s", place.path, error)
        return None
    try:
        # Waits for a moment where another server is just looking whether this one was left.
        fcntl.flock(lock, fcntl.LOCK_EX)
        handed = place.controllers
        if place.version == 2:
            handed = frozenset(one for one in handed if switch_on(path, one))
    except OSError:
        os.close(lock)
        raise
    return Place(place.version, path, handed), lock


def _reclaim(place: Place) -> None:
    """Removes the groups that servers left which are no more; their locks are free."""
    for path in place.path.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _end_all(Place(place.version, path, place.controllers))
        except BlockingIOError:
            continue
        except OSError as error:
            _log.warning("%s, which a server has left, stays: %s", path, error)
        finally:
            os.close(lock)


def _end_all(place: Place) -> None:
    """Ends what is in a server's group, and removes it."""
    for path in [path for path in place.path.iterdir() if path.is_dir()]:
        ControlGroup([Place(place.version, path, place.controllers)]).end()
    ControlGroup([place]).end()
