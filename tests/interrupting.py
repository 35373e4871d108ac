"""A Ctrl-C at a chosen step of the main thread, so that every step of a piece of work can have its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Container
from types import FrameType
from typing import Any

import pytest

finalizers_pass_over_it = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""For tests of each step: one may lie in a weak reference's callback, where Python only says that an error came."""
_STEPS = ("call", "c_return")  # where Python looks for a Ctrl-C, loops aside
Step = tuple[str, str]
"""A function of Python's as it begins, or one in which one of C's has returned: which of the two, and its name."""


def steps_of(work: Callable[[], object]) -> list[Step]:
    """Does some work and gives its steps."""
    steps: list[Step] = []
    _profile(steps.append, work)
    return steps


def interrupted(
    step: int, work: Callable[[], object], among: Container[Step] | None = None
) -> KeyboardInterrupt | None:
    """Does some work, and breaks it with a Ctrl-C at a step; gives what came of that, None when it had ended before.

    Where the step lay in a finalizer, and Python passed over it, an interrupt is given all the same.

    Args:
        step: At which step, counted from 0.
        work: The work.
        among: Which steps count; all when left out.
    """
    passed = -1

    def count(one: Step) -> None:
        nonlocal passed
        passed += among is None or one in among
        if passed == step:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGINT)

    try:
        _profile(count, work)
    except KeyboardInterrupt as interrupt:
        return interrupt
    return None if passed < step else KeyboardInterrupt("passed over")


def _profile(take: Callable[[Step], None], work: Callable[[], object]) -> None:
    def at(frame: FrameType, event: str, _: Any) -> None:
        if event in _STEPS:
            take((event, frame.f_code.co_qualname))

    try:
        sys.setprofile(at)
        work()
    finally:
        sys.setprofile(None)
