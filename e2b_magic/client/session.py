"""Which session an execution belongs to, and whether that session is still alive.

A session's id names its host, its process and when that process began: enough to tell, later and from another
process, whether it has died, without a lock file to keep or to lose. A process id alone would be taken for alive
when another program got the same number.
"""

from __future__ import annotations

import os
import socket
from functools import cache

from e2b_magic.interrupts import deferred


@cache
def _own(process: int) -> str:
    return f"{socket.gethostname()}/{process}/{_began(process):.2f}"


def own_session() -> str:
    """Gives this process's session id; a forked child has another than its parent."""
    return _own(os.getpid())


def _began(process: int) -> float:
    with deferred():
        import psutil  # here, since a cached result should not pay for its import

    return psutil.Process(process).create_time()


def host_of(session: str) -> str:
    """Gives the host that a session runs on; empty when the text is no session's id."""
    parts = session.rsplit("/", 2)
    return parts[0] if len(parts) == 3 else ""


def has_died(session: str) -> bool:
    """Whether a session is known to be over; one on another host is not, for this host cannot tell."""
    import psutil

    try:
        host, process, began = session.rsplit("/", 2)
        if host != socket.gethostname():
            return False
        return abs(_began(int(process)) - float(began)) > 1
    except psutil.NoSuchProcess:
        return True
    except (ValueError, psutil.AccessDenied):
        return False
