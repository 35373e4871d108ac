"""A Ctrl-C at a chosen step of the main thread, so that every step of a piece of work can have its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

STEPS = ("call", "c_return")
"""Where Python looks for a Ctrl-C, loops aside: as a function of Python's begins, and as one of C's has returned."""


def interrupted(step: int, work: Callable[[], object]) -> KeyboardInterrupt | None:
    """Does some work, and breaks it with a Ctrl-C at a step; gives what came of that, None when it had ended before.

    Args:
        step: At which step, counted from 0.
        work: The work, which is begun outside any other use of `sys.setprofile`.
    """
    left = step

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        if event in STEPS:
            left -= 1
            if left < 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    try:
        sys.setprofile(count)
        work()
    except KeyboardInterrupt as interrupt:
        return interrupt
    finally:
        sys.setprofile(None)
    return None
