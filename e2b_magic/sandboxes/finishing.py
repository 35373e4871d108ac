"""Cancellations that end what they should, and no more.

Short calls of the SDK are left to end by themselves when their caller is cancelled. To cancel one would leave its
script half done in the sandbox, or what it was to start running there; and each cancelled stream is logged as an error
that nobody took: the SDK opens one by `asyncio.wait_for`, which in Python 3.11 forgets how the task that it cancels has
ended. And a cancellation that got lost below the SDK is found again before anything that lasts is begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
_going_on: set[asyncio.Task[Any]] = set()


def started(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Gives a task whose failure may go unheard: somebody looks at it later, or nobody needs to."""
    task = asyncio.create_task(work)
    task.add_done_callback(_taken)
    return task


async def finishing(work: Coroutine[Any, Any, T]) -> T:
    """Gives what a coroutine gives; a cancellation ends the waiting, and the coroutine goes on."""
    task = started(work)
    _going_on.add(task)
    task.add_done_callback(_going_on.discard)
    return await asyncio.shield(task)


async def undone(starting: asyncio.Task[Any], undo: Callable[[], Coroutine[Any, Any, None]], patience: float) -> None:
    """Undoes what a task starts: once it has, since what was sent cannot be called back.

    Args:
        starting: The task; it is not cancelled.
        undo: Called when it is done, however it ended.
        patience: Seconds to wait for all that, which then goes on by itself.
    """

    async def undoing() -> None:
        await asyncio.wait([starting])
        await undo()

    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            await finishing(undoing())


def heed_cancellation() -> None:
    """Raises the cancellation of this task that somebody it called has dropped.

    Python 3.11's `asyncio.wait_for` does so: one that comes when the result is there already, and its waiter is not yet
    awake, gives the result and is forgotten (bpo-42130; gone since 3.12, where nothing is dropped). connectrpc waits so
    for the answer of each unary call, and pyqwest for each HTTP response. With requests cancelled at random moments,
    7 of 1,297 went on under 3.11, and none of 2,125 under 3.12. Python's is not ours to mend, and to cancel a second
    time would break off the cleaning up of those who have felt the first. So whoever begins something that lasts (a
    command, a job, a shell) asks here first.

    Raises:
        asyncio.CancelledError: The task was cancelled, and goes on all the same.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _taken(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
