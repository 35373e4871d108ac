"""Awaiting a verb of many steps: it runs in a thread, and to cancel whoever awaits it interrupts it there.

A transfer or a setup asks the worker for one piece after the other and, between, reads and writes this machine's files,
which would hold up an event loop. `in_thread` runs such a verb; each request that it makes goes through `wait_for`,
where a cancellation is felt once, as Ctrl-C is in the main thread, so that what cleans up behind it can ask again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from e2b_magic.client.background import INTERRUPT_LIMIT, Job

P = ParamSpec("P")
T = TypeVar("T")


class _Interruption:
    """A wish to end a verb in another thread, which comes true at its present request, or its next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job: Job[Any] | None = None
        self._wanted = False

    def want(self) -> None:
        with self._lock:
            self._wanted = True
            if self._job is not None:
                self._job.cancel()

    def wait_for(self, job: Job[T]) -> T:
        with self._lock:
            if self._wanted:
                self._wanted = False
                raise asyncio.CancelledError
            self._job = job
        try:
            return job.wait()
        except asyncio.CancelledError:
            self._wanted = False
            raise
        finally:
            with self._lock:
                self._job = None


_interruption: ContextVar[_Interruption | None] = ContextVar("interruption", default=None)


def wait_for(job: Job[T]) -> T:
    """Gives a job's result, in whatever thread; in one of `in_thread`'s a cancellation ends the job.

    Raises:
        CancelledError: Whoever awaits this thread's verb was cancelled.
    """
    interruption = _interruption.get()
    return job.wait() if interruption is None else interruption.wait_for(job)


async def in_thread(verb: Callable[[], T]) -> T:
    """Gives what a verb gives that waits for its requests by `wait_for`; to cancel this ends it.

    Args:
        verb: What is called, in a thread of the running loop's.
    """
    interruption = _Interruption()

    def run() -> T:
        _interruption.set(interruption)  # in the thread's own copy of the context
        return verb()

    running = asyncio.create_task(asyncio.to_thread(run))
    running.add_done_callback(lambda task: task.cancelled() or task.exception())  # taken, should nobody ask for it
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        interruption.want()
        await asyncio.wait([running], timeout=INTERRUPT_LIMIT)
        raise


def on_this_loop(callback: Callable[P, object]) -> Callable[P, None]:
    """Gives a function that has another one called on the running loop, from whatever thread."""
    loop = asyncio.get_running_loop()

    def call(*arguments: P.args, **named: P.kwargs) -> None:
        loop.call_soon_threadsafe(lambda: callback(*arguments, **named))

    return call
