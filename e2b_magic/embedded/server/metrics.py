"""What sandboxes use, looked at every few seconds and kept for an hour.

One task looks at all of them, in a thread: at each one's control group, which takes three small files, or where there
is none at the machine's processes once for all. A sandbox's history takes at most 0.2 MB.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from weakref import WeakKeyDictionary

from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.containment.usage import Usage, usages_of
from e2b_magic.embedded.sandbox.sandbox import Sandbox
from e2b_magic.embedded.server.blocking import in_thread
from e2b_magic.embedded.server.live import LiveSandbox

# Seconds between two looks (E2B's own figure), and how long they are remembered.
INTERVAL, REMEMBERED = 5.0, 3600.0

_log = logging.getLogger(__name__)


class Sample(NamedTuple):
    """What one look found.

    Attributes:
        time: When, in seconds since the epoch.
        cpu_percent: Processor time since the look before, of all that the sandbox may use.
        memory: Bytes in use.
        cache: Bytes that the kernel keeps of files.
        disk: Bytes on disk.
    """

    time: float
    cpu_percent: float
    memory: int
    cache: int
    disk: int


@dataclass(slots=True)
class _History:
    """What is known of one sandbox.

    Attributes:
        samples: What was found, the oldest first.
        looked: The monotonic time of the last look.
        usage: What it found.
    """

    looked: float
    usage: Usage = field(default_factory=lambda: Usage(cpu_seconds=0, memory_bytes=0))
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=int(REMEMBERED / INTERVAL)))


class Metrics:
    """The histories of all sandboxes.

    Args:
        sandboxes: Those that live, whenever it is asked.
        limits: What each may use.
    """

    def __init__(self, sandboxes: Iterable[LiveSandbox], limits: Limits) -> None:
        self._sandboxes = sandboxes
        self._limits = limits
        self._histories: WeakKeyDictionary[LiveSandbox, _History] = WeakKeyDictionary()

    async def run(self) -> None:
        """Looks at all of them every few seconds, for ever."""
        while True:
            try:
                await self.look(self._sandboxes)
            except Exception:  # noqa: BLE001 - one look that fails must not be the last
                _log.exception("what sandboxes use could not be looked at")
            await asyncio.sleep(INTERVAL)

    async def look(self, sandboxes: Iterable[LiveSandbox]) -> None:
        """Looks at some of them now."""
        looked_at = list(sandboxes)
        usages = await in_thread(_usages, [sandbox.contained for sandbox in looked_at])
        for sandbox, usage in zip(looked_at, usages, strict=True):
            if usage is not None:
                self._keep(sandbox, usage)

    def _keep(self, sandbox: LiveSandbox, usage: Usage) -> None:
        now = time.monotonic()
        age = max(time.time() - sandbox.record.started_at, 0.0)
        history = self._histories.setdefault(sandbox, _History(looked=now - age))
        # Time that a sandbox used before it was started anew, or that another counted, is not taken off.
        used = max(usage.cpu_seconds - history.usage.cpu_seconds, 0.0)
        share = used / max(now - history.looked, 1e-3) / self._limits.cpu_count
        killed = usage.killed_for_memory - history.usage.killed_for_memory
        if killed > 0:
            _log.warning("sandbox %s: %d processes were killed, its memory being used up", sandbox.id, killed)
        history.looked, history.usage = now, usage
        percent = round(min(share * 100, 100.0), 2)
        disk = sandbox.contained.disk_used
        history.samples.append(Sample(time.time(), percent, usage.memory_bytes, usage.cache_bytes, disk))

    async def of(self, sandbox: LiveSandbox) -> list[Sample]:
        """Gives what is known of a sandbox, the oldest first; of one that nobody looked at yet, what a look finds."""
        if sandbox not in self._histories:
            await self.look([sandbox])
        history = self._histories.get(sandbox)
        return list(history.samples) if history is not None else []


def _usages(sandboxes: list[Sandbox]) -> list[Usage | None]:
    """Gives what each has used; None for one that is just ending."""
    counted = list(_counted(sandboxes))
    others = [sandbox.agent for sandbox, usage in zip(sandboxes, counted, strict=True) if usage is None]
    listed = usages_of(agent for agent in others if agent) if any(others) else {}
    return [usage or listed.get(sandbox.agent) for sandbox, usage in zip(sandboxes, counted, strict=True)]


def _counted(sandboxes: list[Sandbox]) -> Iterator[Usage | None]:
    for sandbox in sandboxes:
        try:
            yield None if sandbox.group is None else sandbox.group.usage()
        except OSError:  # its group has gone with it
            yield None
