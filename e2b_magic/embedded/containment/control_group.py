"""One sandbox's control group: its bounds, what it has used, its freezer, and its end.

The agent is put into it before it is told anything, so all that it ever starts is in there too; bubblewrap's own
process, which only waits, is not.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from e2b_magic.embedded.containment.hierarchies import Place
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.containment.usage import Usage

# Seconds that processes may take to freeze, and killed ones to leave their group.
_FREEZE_TIMEOUT, _END_TIMEOUT = 5.0, 5.0
_POLL = 0.002
# The kernel's own period for shares of processor time, in microseconds.
_PERIOD = 100_000

# By version: the file that tells what is used, and in `memory.stat` a prefix, and the name of processes' own memory.
_USED = {1: ("memory.usage_in_bytes", "total_", "rss"), 2: ("memory.current", "", "anon")}
# What the agent has for itself; and so much that the rest, which takes the kernel longer to tell, does not matter.
_AGENT_BYTES, _PLENTY = 4 << 20, 16 << 20


def _settings(version: int, limits: Limits) -> Iterator[tuple[str, str, str]]:
    """Gives what is written where: the controller, its file, and the text (cgroup-v2.rst, cgroup-v1/*.rst)."""
    if limits.memory_bytes is not None:
        yield "memory", {1: "memory.limit_in_bytes", 2: "memory.max"}[version], str(limits.memory_bytes)
        # Version 1 bounds memory and swap together, version 2 each: both so come to none.
        swap = {1: ("memory.memsw.limit_in_bytes", str(limits.memory_bytes)), 2: ("memory.swap.max", "0")}[version]
        yield ("memory", *swap)
    if limits.processes is not None:
        yield "pids", "pids.max", str(limits.processes)
    if limits.cpus is not None:
        quota = round(limits.cpus * _PERIOD)
        if version == 2:
            yield "cpu", "cpu.max", f"{quota} {_PERIOD}"
        else:
            yield "cpu", "cpu.cfs_period_us", str(_PERIOD)
            yield "cpu", "cpu.cfs_quota_us", str(quota)


class ControlGroup:
    """One sandbox's group, in every tree.

    Args:
        directories: Its directory in each tree, with what that tree has.
    """

    def __init__(self, directories: Sequence[Place]) -> None:
        self._directories = directories
        self._memory_bytes: int | None = None

    @property
    def controllers(self) -> frozenset[str]:
        """What the kernel does for it: of `memory`, `pids`, `cpu`, `freezer`, `cpuacct` what there is."""
        return controllers_of(self._directories)

    def limit(self, limits: Limits) -> None:
        """Sets its bounds, as far as there are controllers.

        Raises:
            OSError: The kernel refused one.
        """
        self._memory_bytes = limits.memory_bytes
        for place in self._directories:
            for controller, name, text in _settings(place.version, limits):
                # Where swap is not counted there is no file for it.
                if controller in place.controllers and (place.path / name).exists():
                    (place.path / name).write_text(text)

    def add(self, pid: int) -> None:
        """Puts a process in.

        Raises:
            OSError: The kernel refused.
        """
        for place in self._directories:
            (place.path / "cgroup.procs").write_text(str(pid))

    def _frozen_by(self) -> tuple[Path, dict[bool, str], Path, dict[bool, str]] | None:
        """Gives the file that freezes and its texts, and the file and texts by which it shows; None for none."""
        for place in self._directories:
            if place.version == 2:
                told = {True: "frozen 1", False: "frozen 0"}
                return place.path / "cgroup.freeze", {True: "1", False: "0"}, place.path / "cgroup.events", told
            if "freezer" in place.controllers:
                state = {True: "FROZEN", False: "THAWED"}
                return place.path / "freezer.state", state, place.path / "freezer.state", state
        return None

    @property
    def lets_the_frozen_die(self) -> bool:
        """Whether it has a freezer, and what that holds ends when it is killed: so it is in version 2 alone."""
        return any(place.version == 2 for place in self._directories)

    def freeze(self) -> None:
        """Stops every process in it, and returns when all stand still; nothing inside can undo that.

        Raises:
            OSError: There is no freezer, or it refused.
            TimeoutError: They do not stand still after five seconds.
        """
        self._set_frozen(frozen=True)

    def thaw(self) -> None:
        """Lets its processes go on; those that run already, and a group without a freezer, stay as they are.

        Raises:
            OSError: The kernel refused.
            TimeoutError: They stand still after five seconds.
        """
        if self._frozen_by() is not None:
            self._set_frozen(frozen=False)

    def _set_frozen(self, *, frozen: bool) -> None:
        found = self._frozen_by()
        if found is None:
            raise OSError(errno.EOPNOTSUPP, "this machine has no freezer that the server may use")
        switch, texts, shown, told = found
        switch.write_text(texts[frozen])
        deadline = time.monotonic() + _FREEZE_TIMEOUT
        while told[frozen] not in shown.read_text().splitlines():
            if time.monotonic() > deadline:
                raise TimeoutError(f"a sandbox's processes did not {'freeze' if frozen else 'thaw'}")
            time.sleep(_POLL)

    def usage(self) -> Usage | None:
        """Gives what its processes have used; None where that is not counted here."""
        memory = next((place for place in self._directories if "memory" in place.controllers), None)
        seconds = self._cpu_seconds()
        if memory is None or seconds is None:
            return None
        current, cache, events, kills = {
            1: ("memory.usage_in_bytes", "total_cache", "memory.oom_control", "oom_kill"),
            2: ("memory.current", "file", "memory.events", "oom_kill"),
        }[memory.version]
        cached = _numbers(memory.path / "memory.stat").get(cache, 0)
        used = int((memory.path / current).read_text()) - cached
        killed = _numbers(memory.path / events).get(kills, 0)
        return Usage(cpu_seconds=seconds, memory_bytes=max(used, 0), cache_bytes=cached, killed_for_memory=killed)

    def memory_left(self) -> int | None:
        """Gives the bytes that a new process could have if all but the agent were killed for it; None for no bound.

        Files that lie in memory are nobody's, so no killing gives back what they take: those in `/dev/shm`, and all of
        a sandbox whose directory is on a tmpfs.
        """
        place = next((place for place in self._directories if "memory" in place.controllers), None)
        if place is None or self._memory_bytes is None:
            return None
        used, prefix, own = _USED[place.version]
        left = self._memory_bytes - int((place.path / used).read_text())
        if left >= _PLENTY:
            return left
        counted = _numbers(place.path / "memory.stat")
        cached = counted[f"{prefix}inactive_file"] + counted[f"{prefix}active_file"]
        return left + cached + max(0, counted[f"{prefix}{own}"] - _AGENT_BYTES)

    def _cpu_seconds(self) -> float | None:
        for place in self._directories:
            if place.version == 2:  # counted there with or without the controller
                return _numbers(place.path / "cpu.stat")["usage_usec"] / 1e6
            if "cpuacct" in place.controllers:
                return int((place.path / "cpuacct.usage").read_text()) / 1e9
        return None

    def end(self) -> None:
        """Kills what is in it, frozen or not, and removes it; returns when that is done.

        Raises:
            TimeoutError: It is not done after five seconds.
        """
        deadline = time.monotonic() + _END_TIMEOUT
        while not self.remove():
            # Again each time: what was listed may have forked before it was killed.
            for place in self._directories:
                for pid in members_of(place.path):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            # Killed, but held: a freezer of version 1 keeps even the dead.
            with suppress(FileNotFoundError):
                self.thaw()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._directories[0].path} still holds processes")
            time.sleep(_POLL)

    def remove(self) -> bool:
        """Whether it is gone: a group that is empty is removed."""
        left = [place for place in self._directories if not _remove(place.path)]
        return not left


def controllers_of(places: Sequence[Place]) -> frozenset[str]:
    """Gives what the kernel does in groups that are in all these trees; version 2 always freezes and counts time."""
    core = {"freezer", "cpuacct"} if any(place.version == 2 for place in places) else set()
    return frozenset(core).union(*(place.controllers for place in places))


def _remove(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise
    return True


def members_of(path: Path) -> list[int]:
    """Gives the processes in a group; those of other process namespaces show as 0, and are none of ours."""
    try:
        return [pid for word in (path / "cgroup.procs").read_text().split() if (pid := int(word))]
    except OSError:
        return []


def _numbers(path: Path) -> dict[str, int]:
    """Gives the numbers of a file whose lines are a name and a number."""
    return {name: int(number) for name, number in (line.split() for line in path.read_text().splitlines())}
