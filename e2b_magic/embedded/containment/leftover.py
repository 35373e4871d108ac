"""The processes that outlive a server of root's which was killed while it started their sandbox.

bubblewrap asks the kernel to be ended with its parent, but its child, until it has heard from bubblewrap, has not: when
the server is killed in between, the child waits for ever. It is found by its user id, which no other sandbox has. An
ordinary user's server runs its sandboxes by its own id, by which nothing can be told.
"""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

from e2b_magic.embedded.containment import identity

# Seconds that killed processes may take to end.
_END_TIMEOUT = 5.0


def end(uid: int) -> None:
    """Kills every process that runs by a sandbox's user id, and waits for their end.

    Args:
        uid: The owner of the sandbox's directory. One that sandboxes are not given, root's or an account's, and any
            for a server that is not root's, is passed over.

    Raises:
        TimeoutError: They have not ended after five seconds.
    """
    if os.geteuid() != 0 or not identity.is_given(uid):
        return
    deadline = time.monotonic() + _END_TIMEOUT
    # Again, until there is none: what was listed may have forked before it was killed.
    while processes := [pid for pid in _processes() if _runs_as(pid, uid)]:
        for pid in processes:
            _kill(pid, uid, deadline)


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _runs_as(pid: int, uid: int) -> bool:
    """Whether a process, which is no zombie, has this real user id (proc(5), `status`)."""
    try:
        # Not the owner of /proc/<pid>: that is root where a process has made itself undumpable.
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    return fields["State"][0] not in "ZX" and int(fields["Uid"][0]) == uid


def _kill(pid: int, uid: int, deadline: float) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Looked at again, now that its id cannot pass to another process.
        if not _runs_as(pid, uid):
            return
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        if not select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))[0]:
            raise TimeoutError(f"process {pid} of user id {uid} was killed and has not ended")
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)
