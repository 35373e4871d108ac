"""Keeping a Ctrl-C from what it would break for good.

Python raises KeyboardInterrupt between any two steps of the main thread, and not all code gets over that: an import
that is broken off can leave the lock of `logging` taken or a package half there, and a `threading.Condition`, which
futures, events and the start of a thread use, can stay locked; whoever needs one of them later waits for ever. What is
such code, and short, is done in `deferred`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deferred() -> Iterator[None]:
    """Has a Ctrl-C that comes meanwhile felt at the end; a second one is felt at once.

    Only the main thread feels any, so in others this does nothing. To do the work in another thread and wait for it
    here would need one of the very locks that it is about.
    """
    felt = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(felt):
        yield
        return
    came = False

    def defer(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            felt(number, frame)
        came = True

    signal.signal(signal.SIGINT, defer)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, felt)
        if came:
            felt(signal.SIGINT, None)
