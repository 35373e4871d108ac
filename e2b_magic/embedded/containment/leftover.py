"""The processes that outlive a server which was killed while it started their sandbox.

bubblewrap asks the kernel to be ended with its parent, but its child, until it has heard from bubblewrap, has not: when
the server is killed in between, the child waits for ever. Under root's server it is found by its user id, which no
other sandbox has. An ordinary user's server runs its sandboxes by its own id; there it is found by its title, which
names the sandbox's directory, and which it has for as long as it waits.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from e2b_magic.embedded.containment import identity

# Seconds that killed processes may take to end.
_END_TIMEOUT = 5.0


def title(directory: Path) -> str:
    """Gives what bubblewrap is called (its first argument, as `ps` shows it) while it starts a sandbox.

    Args:
        directory: The sandbox's; its name is chosen by chance, so no other sandbox's has it.
    """
    return f"e2b-magic-{directory.name}"


def end(uid: int, directory: Path) -> None:
    """Kills every process that a killed server's start of a sandbox has left, and waits for their end.

    Args:
        uid: The owner of the sandbox's directory. One that sandboxes are not given, root's or an account's, is passed
            over by root's server.
        directory: The sandbox's, which nobody holds any more.

    Raises:
        TimeoutError: They have not ended after five seconds.
    """
    if os.geteuid() != 0:
        _end(partial(_is_titled, words=title(directory)))
    elif identity.is_given(uid):
        _end(partial(_runs_as, uid=uid))


def _end(is_left: Callable[[int], bool]) -> None:
    deadline = time.monotonic() + _END_TIMEOUT
    # Again, until there is none: what was listed may have forked before it was killed.
    while processes := [pid for pid in _processes() if is_left(pid)]:
        for pid in processes:
            _kill(pid, is_left, deadline)


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


def _is_titled(pid: int, words: str) -> bool:
    """Whether a process of this user's has this title (proc(5), `cmdline`); a zombie has none."""
    try:
        told = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return told.partition(b"\0")[0] == os.fsencode(words) and _runs_as(pid, os.getuid())


def _kill(pid: int, is_left: Callable[[int], bool], deadline: float) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Looked at again, now that its id cannot pass to another process.
        if not is_left(pid):
            return
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        if not select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))[0]:
            raise TimeoutError(f"process {pid} was killed and has not ended")
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)
