"""Work in a thread of its own, as whoever awaits it sees it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from e2b_magic.sandboxes.threads import in_own_thread


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Keeps threads from beginning until it is set."""
    held = threading.Event()

    class Late(threading.Thread):
        def run(self) -> None:
            held.wait(30)
            super().run()

    monkeypatch.setattr("e2b_magic.sandboxes.threads.threading.Thread", Late)
    return held


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "e2b-magic transfer"]


async def test_what_is_cancelled_before_its_thread_begins_is_not_done(held: threading.Event) -> None:
    """The thread ends without a word: there is nobody who would take what it gives."""
    done: list[str] = []
    work = asyncio.create_task(in_own_thread(lambda: done.append("work")))
    await asyncio.sleep(0)
    assert _threads()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    held.set()
    for thread in _threads():
        await asyncio.to_thread(thread.join)
    assert done == []


async def test_what_goes_wrong_in_the_thread_is_raised_where_it_is_awaited(held: threading.Event) -> None:
    """An error comes out of the await, and a result is given there."""
    held.set()
    assert await in_own_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await in_own_thread(lambda: 1 // 0)
