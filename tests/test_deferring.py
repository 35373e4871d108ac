"""Deferring a Ctrl-C."""

from __future__ import annotations

import signal
import threading

import pytest

from e2b_magic.interrupts import deferred
from tests.interrupting import finalizers_pass_over_it, interrupted


def _press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_a_deferred_interrupt_is_felt_at_the_end() -> None:
    """What is under way when Ctrl-C comes is done to its end, also in a block within another; then it is felt."""
    done: list[str] = []

    def work() -> None:
        with deferred():
            with deferred():
                _press()
                done.append("inner")
            done.append("outer")
        done.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inner", "outer"]


def test_a_second_interrupt_is_felt_at_once() -> None:
    """Who presses twice is not kept waiting, and what comes later is felt as ever."""
    done: list[str] = []

    def work() -> None:
        with deferred():
            _press()
            done.append("first")
            _press()
            done.append("second")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["first"]
    with pytest.raises(KeyboardInterrupt):
        _press()


def test_an_error_gives_way_to_the_interrupt() -> None:
    """When the work fails after a Ctrl-C it is the Ctrl-C that is felt; the error stands behind it."""

    def work() -> None:
        with deferred():
            _press()
            raise LookupError("this")

    with pytest.raises(KeyboardInterrupt) as felt:
        work()
    assert isinstance(felt.value.__context__, LookupError)


def test_another_thread_defers_nothing() -> None:
    """In another thread the work is done as it is, and the main thread's Ctrl-C is felt meanwhile."""
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with deferred():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    with pytest.raises(KeyboardInterrupt):
        _press()
    leave.set()
    thread.join()


@finalizers_pass_over_it
def test_wherever_an_interrupt_comes_later_ones_are_felt() -> None:
    """At whatever step Ctrl-C comes, the work is done whole or not begun, and Python's own handler is back."""

    def work() -> None:
        done.append("begun")
        with deferred():
            done.extend(sorted(["first", "second"]))

    for step in range(1000):
        done: list[str] = []
        came = interrupted(step, work)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert done in ([], ["begun"], ["begun", "first", "second"])
        if came is None:
            break
    assert 5 < step < 999
