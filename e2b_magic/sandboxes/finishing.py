"""Short calls of the SDK that are left to end by themselves when their caller is cancelled.

To cancel one would leave its script half done in the sandbox, and the SDK logs each cancelled stream as an error that
nobody took.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_going_on: set[asyncio.Task[Any]] = set()


async def finishing(work: Coroutine[Any, Any, T]) -> T:
    """Gives what a coroutine gives; a cancellation ends the waiting, and the coroutine goes on."""
    task = asyncio.create_task(work)
    _going_on.add(task)
    task.add_done_callback(_ended)
    return await asyncio.shield(task)


def heed_cancellation() -> None:
    """Raises the cancellation of this task that somebody it called has taken for an end of their own.

    `asyncio.wait_for` of Python 3.11 drops one that comes together with its result, and so may a library. Who begins
    something that lasts asks here first: nobody would cancel it a second time.

    Raises:
        asyncio.CancelledError: The task was cancelled, and goes on all the same.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _ended(task: asyncio.Task[Any]) -> None:
    _going_on.discard(task)
    if not task.cancelled():
        task.exception()  # taken: whoever was cancelled does not ask for it
