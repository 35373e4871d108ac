"""What a sandbox's processes have used of the machine: as its control group counts it, else added up from `/proc`."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was used so far, or is used now.

    Attributes:
        cpu_seconds: Processor time, of processes that have ended too.
        memory_bytes: Memory, without what the kernel keeps of files.
        cache_bytes: What the kernel keeps of files on behalf of these processes; 0 where nobody counts it.
        killed_for_memory: How many processes the kernel has killed because the sandbox's memory was used up.
    """

    cpu_seconds: float
    memory_bytes: int
    cache_bytes: int = 0
    killed_for_memory: int = 0


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    ticks: int
    pages: int


def usages_of(roots: Iterable[int], proc: Path = Path("/proc")) -> dict[int, Usage]:
    """Gives what each of some processes has used with all its descendants; those that have ended are left out.

    One look at all of the machine's processes serves every sandbox. All that runs in one descends from its agent, and
    what has ended there is in the time that its parent waited for, the agent's at last.

    Args:
        roots: The agents' process ids.
        proc: What is read as `/proc`.
    """
    processes = {process.pid: process for process in _processes(proc)}
    children: defaultdict[int, list[_Process]] = defaultdict(list)
    for process in processes.values():
        children[process.parent].append(process)
    return {root: _sum(_family(processes[root], children)) for root in roots if root in processes}


def _family(root: _Process, children: dict[int, list[_Process]]) -> Iterator[_Process]:
    waiting = [root]
    while waiting:
        process = waiting.pop()
        yield process
        waiting += children.get(process.pid, ())


def _sum(processes: Iterable[_Process]) -> Usage:
    ticks = pages = 0
    for process in processes:
        ticks += process.ticks
        pages += process.pages
    # Pages that processes share count for each of them: to tell them apart (`smaps`) costs a hundred times as much.
    return Usage(cpu_seconds=ticks / _TICKS, memory_bytes=pages * _PAGE)


def _processes(proc: Path) -> Iterator[_Process]:
    with os.scandir(proc) as entries:
        for entry in entries:
            if entry.name.isdigit():
                with suppress(FileNotFoundError, ProcessLookupError):
                    yield _process(entry)


def _process(entry: os.DirEntry[str]) -> _Process:
    # Not pathlib: of a thousand processes it would take a third of the time.
    with open(f"{entry.path}/stat", "rb") as file:  # noqa: PTH123 - for each process, each time
        # After the program's name, which may hold anything, from the third field on (proc_pid_stat(5)).
        fields = file.read().rpartition(b")")[2].split()
    # 4: parent; 14 to 17: its own time and that of children it waited for; 24: resident pages.
    return _Process(int(entry.name), int(fields[1]), sum(map(int, fields[11:15])), int(fields[21]))
