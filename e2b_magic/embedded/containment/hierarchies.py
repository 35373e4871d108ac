"""Where on this machine control groups can be made: read from `/proc`, and tried on nothing yet.

Linux has two kinds. Version 2 is one tree for everything; version 1 is a tree for each controller, or for a few. A
machine may have both at once, its controllers in the one or the other. In each tree a process is in one group, and
who may write to a group's directory may make groups beneath it.

With version 2 a group that holds processes cannot hand controllers on to groups beneath it (all but the root), and a
server's own group holds the server. So the nearest group above that can is taken, as far up as we may write: as root
all the way, as an ordinary user up to what systemd has delegated. With version 1 it is always the own group, so that
what bounds the server bounds its sandboxes too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What is wanted of version 2, and of version 1, which has the counting of processor time apart and a freezer.
WANTED = {2: ("memory", "pids", "cpu"), 1: ("memory", "pids", "cpu", "cpuacct", "freezer")}
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Place:
    """A group beneath which groups can be made.

    Attributes:
        version: 1 or 2.
        path: Its directory.
        controllers: The controllers that groups beneath it have, of those that are wanted.
    """

    version: int
    path: Path
    controllers: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Mount:
    version: int
    point: Path
    root: str
    controllers: frozenset[str]


def find_places(proc: Path = PROC) -> list[Place]:
    """Gives the places; none where there are no control groups, or all of them are others'.

    First that of version 2, then version 1's freezer: whoever ends what is in one tree after the other begins with the
    one that may hold it. What version 1 has frozen does not die of being killed in another.

    Args:
        proc: What is read as `/proc`.
    """
    own = _own_groups(proc / "self" / "cgroup")
    mounts = sorted(_mounts(proc / "self" / "mountinfo"), key=_rank)
    found = [place for mount in mounts if (place := _place(mount, own)) is not None]
    return [place for number, place in enumerate(found) if _adds(place, found[:number])]


def _rank(mount: _Mount) -> int:
    return 0 if mount.version == 2 else 1 if "freezer" in mount.controllers else 2


def is_mounted(proc: Path = PROC) -> bool:
    """Whether this machine shows control groups at all, whoever may write to them."""
    return next(_mounts(proc / "self" / "mountinfo"), None) is not None


def _adds(place: Place, before: list[Place]) -> bool:
    """Whether a place has what those before it have not: one of version 2 always freezes and counts, at least."""
    known = frozenset({"cpuacct", "freezer"}) if before and before[0].version == 2 else frozenset()
    return place.version == 2 or bool(place.controllers - known.union(*(other.controllers for other in before)))


def _own_groups(path: Path) -> dict[str, str]:
    """Gives the group that this process is in, by controller; that of version 2 by the empty name (cgroups(7))."""
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return {}
    fields = [line.split(":", 2) for line in lines]
    return {name: group for _, names, group in fields for name in names.split(",")}


def _mounts(path: Path) -> Iterator[_Mount]:
    """Gives the mounted trees of control groups (proc_pid_mountinfo(5))."""
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        mounted, _, system = line.partition(" - ")
        _, _, _, root, point, *_ = mounted.split(" ")
        kind, _, options = system.split(" ", 2)
        if kind == "cgroup2":
            yield _Mount(2, Path(_unescaped(point)), _unescaped(root), frozenset())
        elif kind == "cgroup":
            yield _Mount(1, Path(_unescaped(point)), _unescaped(root), frozenset(options.split(",")))


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _place(mount: _Mount, own: dict[str, str]) -> Place | None:
    group = own.get("") if mount.version == 2 else next((own[name] for name in mount.controllers if name in own), None)
    # A group above the root of the namespace shows as `/..`: it is in no directory of ours.
    if group is None or ".." in group.split("/"):
        return None
    beneath = os.path.relpath(group, mount.root)
    if beneath.startswith(".."):
        return None
    directory = Path(os.path.normpath(mount.point / beneath))
    if mount.version == 2:
        return _place_of_two(directory, mount.point)
    wanted = mount.controllers.intersection(WANTED[1])
    return Place(1, directory, wanted) if wanted and _is_writable(directory) else None


def _place_of_two(own: Path, top: Path) -> Place | None:
    candidates = [own, *(parent for parent in own.parents if parent.is_relative_to(top))]
    places = []
    for directory in candidates:
        if not _is_writable(directory):
            break
        places.append(Place(2, directory, _handed_on(directory)))
        if "memory" in places[-1].controllers:
            return places[-1]
    # Groups without any controller still freeze, kill and count.
    return max(places, key=lambda place: len(place.controllers), default=None)


def _is_writable(directory: Path) -> bool:
    # Both: to move a process takes the right to write the file in the common group above, too.
    return all(os.access(path, os.W_OK) for path in (directory, directory / "cgroup.procs"))


def _handed_on(directory: Path) -> frozenset[str]:
    """Gives the wanted controllers that a group of version 2 has for groups beneath it, switched on if need be."""
    there = _words(directory / "cgroup.controllers").intersection(WANTED[2])
    for name in there - _words(directory / "cgroup.subtree_control"):
        switch_on(directory, name)
    return there & _words(directory / "cgroup.subtree_control")


def switch_on(directory: Path, controller: str) -> bool:
    """Whether a controller is on for the groups beneath one of version 2, now that it was asked for."""
    try:
        (directory / "cgroup.subtree_control").write_text(f"+{controller}")
    except OSError:
        # Processes in the group itself (EBUSY), or a group that only root may change.
        return False
    return True


def _words(path: Path) -> frozenset[str]:
    try:
        return frozenset(path.read_text(encoding="ascii").split())
    except OSError:
        return frozenset()
