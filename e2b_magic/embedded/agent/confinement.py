"""What the agent does to itself before it answers anything: undumpable, limited, with streams of its own."""

from __future__ import annotations

import os
import resource
from _ctypes import call_function, dlopen, dlsym  # `ctypes` itself would cost 3 ms of every start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PR_SET_DUMPABLE = 4
LIMITS = {
    "processes": resource.RLIMIT_NPROC,
    "open_files": resource.RLIMIT_NOFILE,
    "file_bytes": resource.RLIMIT_FSIZE,
    "memory_bytes": resource.RLIMIT_DATA,
}


def become_undumpable() -> None:
    """Keeps every other process inside from tracing the agent, and from reading its memory and descriptors.

    Raises:
        OSError: The kernel refused.
    """
    this_program = dlopen(None, 2)  # type: ignore[arg-type]  # typeshed does not know that None means that
    if call_function(dlsym(this_program, "prctl"), (PR_SET_DUMPABLE, 0, 0, 0, 0)) != 0:
        raise OSError("prctl(PR_SET_DUMPABLE) was refused")


def limit(limits: Mapping[str, int]) -> None:
    """Sets the limits that everything started from now on inherits, with no way up again.

    Set inside, where Linux (since 5.14) counts the processes of this user namespace alone; set outside, `processes`
    would also count what the same user runs beside the sandbox.

    Args:
        limits: By the names in `LIMITS`: processes (threads count), open files, bytes of one file, bytes of one
            process's private writable memory. What is left out is not limited.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, value in limits.items():
        _, hard = resource.getrlimit(LIMITS[name])
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(LIMITS[name], (least, least))


def settle() -> None:
    """Takes streams and a working directory of the sandbox's own; standard error stays the daemon's pipe.

    The daemon reads a line of it when the agent dies. What came as standard input and output was the host's
    `/dev/null`.
    """
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    os.umask(0o022)
    os.chdir("/")
