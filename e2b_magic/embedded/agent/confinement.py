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
# What is written to /proc/PID/oom_score_adj (proc_pid_oom_score_adj(5)): in thousandths of all memory there is.
FIRST, HALF = 1000, 500
# What a command may have started before it is made expendable, of which more is let be.
MOST_RAISED = 256


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


class Order:
    """In what order things go when memory runs out, of the host or of the sandbox: commands first, the agent last.

    A command inherits the agent's score, and on a busy machine it has started others before the agent has given it one
    of its own. So the agent raises its own while it starts one, and by half only: until a command is its program, it
    shares the agent's memory, and whoever is killed then takes the agent along, and the whole sandbox. A fork(2), whose
    child shares nothing, would take half a millisecond more for each command.
    """

    def __init__(self) -> None:
        # Opened once, while the agent is dumpable: later the file is not its own.
        self._score = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        self._own = os.read(self._score, 16).strip()

    def __enter__(self) -> None:
        os.pwrite(self._score, b"%d" % max(HALF, int(self._own)), 0)

    def __exit__(self, *_: object) -> None:
        os.pwrite(self._score, self._own, 0)

    def make_expendable(self, pid: int) -> None:
        """Makes a process the first to go, with all that it has started and will start.

        Args:
            pid: The process.
        """
        waiting = [pid]
        # Not for ever: what forks and has itself spared as fast as this looks would keep the agent.
        for _ in range(MOST_RAISED):
            if not waiting:
                break
            process = waiting.pop()
            try:
                if _raise_score(process):
                    waiting += _children(process)
            except OSError:  # it has ended already, or is a program that its user may run and not read
                continue


def _raise_score(pid: int) -> bool:
    """Makes a process the first to go; whether it was not before: what it starts from then on is so by itself."""
    score = os.open(f"/proc/{pid}/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
    try:
        known = int(os.read(score, 16))
        os.pwrite(score, b"%d" % FIRST, 0)
    finally:
        os.close(score)
    return known != FIRST


def _children(pid: int) -> list[int]:
    listed = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return list(map(int, os.read(listed, 65536).split()))
    finally:
        os.close(listed)


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
