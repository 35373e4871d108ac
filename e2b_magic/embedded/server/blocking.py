"""Blocking file work, kept off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

_Result = TypeVar("_Result")


async def in_thread(work: Callable[..., _Result], *args: Any) -> _Result:
    """Runs blocking work in a thread, and returns only when it is over, even if cancelled.

    A plain `to_thread` would return at once and leave the thread reading a descriptor that its owner closes, and
    that may be another file's a moment later.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
