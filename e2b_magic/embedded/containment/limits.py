"""How much of the machine one sandbox may use."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from dataclasses import dataclass

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of one sandbox; None stands for none.

    Attributes:
        processes: Processes and threads at once. Kept by the kernel, inside, and by the control group if there is one.
        open_files: Descriptors of one process. Kept by the kernel, inside.
        file_bytes: Bytes of one file. Kept by the kernel, inside, for what is written there.
        memory_bytes: Bytes of memory. With a control group that counts memory, of all the sandbox's processes
            together; above it the kernel kills the largest. Without, of private writable memory of one process, which
            bounds neither their sum nor memory that they share. Either way, when the host runs out, the kernel looks at
            sandboxes first, unless what runs inside has asked to be spared.
        cpus: Processors' worth of time, such as 0.5. Kept by the control group; without one, not at all.
        shared_memory_bytes: Bytes in `/dev/shm`, half of the memory at most. Kept by the kernel.
        disk_bytes: Bytes that the sandbox's files may take, as measured from outside now and then
            (`e2b_magic.embedded.sandbox.disk_quota`): it can be passed for a moment.
    """

    processes: int | None = 1024
    open_files: int | None = 16384
    file_bytes: int | None = 4096 * MEBIBYTE
    memory_bytes: int | None = 2048 * MEBIBYTE
    cpus: float | None = None
    shared_memory_bytes: int = 64 * MEBIBYTE
    disk_bytes: int | None = 10240 * MEBIBYTE

    @property
    def cpu_count(self) -> int:
        """The processors that a sandbox has, as it is told: a whole number, and what is left of one counts."""
        return math.ceil(self.cpus) if self.cpus is not None else len(os.sched_getaffinity(0))

    @property
    def memory_total(self) -> int:
        """The bytes of memory that a sandbox has: its bound, or all of the machine's."""
        return self.memory_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    @property
    def shared_memory_total(self) -> int:
        """The bytes that `/dev/shm` has: no killing gives back what files take there, so it may not take all memory."""
        return min(self.shared_memory_bytes, self.memory_total // 2)

    def kept_inside(self, controllers: Collection[str] = ()) -> dict[str, int]:
        """Gives the limits that the agent sets, by the agent's names.

        Args:
            controllers: Those of the sandbox's control group. Where it counts memory, no process is bounded by what it
                reserves: many a program reserves far more than it ever uses.
        """
        names = ["processes", "open_files", "file_bytes"] if "memory" in controllers else _INSIDE
        return {name: value for name in names if (value := getattr(self, name)) is not None}


_INSIDE = ("processes", "open_files", "file_bytes", "memory_bytes")
