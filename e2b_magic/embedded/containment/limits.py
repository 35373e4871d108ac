"""How much of the machine one sandbox may use."""

from __future__ import annotations

from dataclasses import dataclass

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of one sandbox; None stands for none.

    Attributes:
        processes: Processes and threads at once. Kept by the kernel, inside.
        open_files: Descriptors of one process. Kept by the kernel, inside.
        file_bytes: Bytes of one file. Kept by the kernel, inside, for what is written there.
        memory_bytes: Bytes of private writable memory of one process. Kept by the kernel, inside. It bounds neither
            the sum of all processes nor memory that they share; when the host runs out, the
            kernel looks at sandboxes first, unless what runs inside has asked to be spared.
        shared_memory_bytes: Bytes in `/dev/shm`. Kept by the kernel.
        disk_bytes: Bytes that the sandbox's files may take, as measured from outside now and then
            (`e2b_magic.embedded.sandbox.disk_quota`): it can be passed for a moment.
    """

    processes: int | None = 1024
    open_files: int | None = 16384
    file_bytes: int | None = 4096 * MEBIBYTE
    memory_bytes: int | None = 2048 * MEBIBYTE
    shared_memory_bytes: int = 64 * MEBIBYTE
    disk_bytes: int | None = 10240 * MEBIBYTE

    def kept_inside(self) -> dict[str, int]:
        """Gives the limits that the agent sets, by the agent's names."""
        names = ("processes", "open_files", "file_bytes", "memory_bytes")
        return {name: value for name in names if (value := getattr(self, name)) is not None}
