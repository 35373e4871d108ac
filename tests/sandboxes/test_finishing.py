"""What a cancellation ends, and what it does not."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from e2b_magic.sandboxes.finishing import finishing, heed_cancellation


async def test_a_short_call_goes_on_when_its_caller_is_cancelled() -> None:
    """The waiting ends at once, the call in its own time."""
    over = asyncio.Event()

    async def call() -> None:
        await asyncio.sleep(0.05)
        over.set()

    waiting = asyncio.create_task(finishing(call()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not over.is_set()
    await asyncio.wait_for(over.wait(), 10)


async def test_a_cancellation_that_was_dropped_is_heeded() -> None:
    """A library that takes a cancellation for its own does not make the task go on with what lasts."""
    reached = []

    async def work() -> None:
        heed_cancellation()  # nobody has cancelled yet
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        reached.append("went on")
        heed_cancellation()
        reached.append("began what lasts")

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reached == ["went on"]
