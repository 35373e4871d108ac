"""A server that a terminal waits for: it serves until somebody says Ctrl-C there.

The server is a process of its own all the same, as `runtime.ensure` starts it. Whoever waits asks it about itself now
and then, so that it does not end for want of work; when the waiting process is killed outright, it ends as any other.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from e2b_magic.embedded.endpoint import Endpoint, read_endpoint
from e2b_magic.embedded.runtime import DEFAULT_IDLE_TIMEOUT, status
from e2b_magic.exceptions import EmbeddedServerError

# What ends the wait: Ctrl-C, `kill`, and a terminal that is closed.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Seconds between two questions: a server ends after many times that, wherever it was started.
_PERIOD = DEFAULT_IDLE_TIMEOUT / 15


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Gives a socket that can be read once one of the signals has come; those that are ignored stay so."""
    told, telling = socket.socketpair()
    telling.setblocking(False)
    heeded = {number: signal.getsignal(number) for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    with told, telling:
        before = signal.set_wakeup_fd(telling.fileno(), warn_on_full_buffer=False)
        try:
            for number in heeded:
                signal.signal(number, lambda *_: None)
            yield told
        finally:
            for number, handler in heeded.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)


def wait_for(directory: Path, endpoint: Endpoint, *, keep: bool) -> bool:
    """Waits until a signal comes (then it is True) or the server has ended by itself (False).

    Args:
        directory: Where the server keeps its runtime file.
        endpoint: The server.
        keep: Whether it is to be kept from ending for want of work.
    """
    try:
        process = os.pidfd_open(endpoint.pid)
    except ProcessLookupError:
        return False
    try:
        with _signals() as told:
            while endpoint.alive:
                ready = select.select([told.fileno(), process], [], [], _PERIOD if keep else None)[0]
                if ready:
                    return told.fileno() in ready
                with contextlib.suppress(EmbeddedServerError):  # one that does not answer does not end either
                    status(directory)
            return False
    finally:
        os.close(process)


def was_killed(directory: Path, endpoint: Endpoint) -> bool:
    """Whether a server that has ended was killed outright: then it has put nothing away."""
    return read_endpoint(directory) == endpoint
