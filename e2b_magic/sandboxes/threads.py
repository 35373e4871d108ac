"""Work in threads of its own, for what may wait as long as it likes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_own_thread(work: Callable[[], T]) -> T:
    """Gives what a function gives in a thread that is nobody else's; to cancel this leaves the thread to itself.

    A cancellation that comes before the thread has begun keeps it from its work.

    Not `asyncio.to_thread`, of whose threads there are six or so: who waits for a slow client would hold up all others,
    and the interpreter would wait at its end.

    Args:
        work: The function.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        if not outcome.set_running_or_notify_cancel():
            return
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001  it is raised where the result is awaited
            outcome.set_exception(error)

    threading.Thread(target=run, name="e2b-magic transfer", daemon=True).start()
    return await asyncio.wrap_future(outcome)
