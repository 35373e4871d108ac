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


def _ended(task: asyncio.Task[Any]) -> None:
    _going_on.discard(task)
    if not task.cancelled():
        task.exception()  # taken: whoever was cancelled does not ask for it
