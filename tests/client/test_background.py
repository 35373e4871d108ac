"""The background loop and its jobs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest

from e2b_magic.client.background import BackgroundLoop, Job, settled
from e2b_magic.exceptions import ConfigurationError
from e2b_magic.worker.protocol import Emit, Event, Progress
from tests.interrupting import finalizers_pass_over_it, interrupted


def test_an_error_comes_out_where_it_is_waited_for() -> None:
    """Whatever a job raises is raised by `wait`."""

    async def fail(emit: Emit) -> None:
        raise LookupError("this")

    background = BackgroundLoop()
    with pytest.raises(LookupError, match="this"):
        background.submit(fail).wait()
    background.close(_nothing)


async def _nothing() -> None:
    return


async def _short(emit: Emit) -> str:
    await asyncio.sleep(0.004)
    return "done"


def _begun(background: BackgroundLoop) -> Job[str]:
    job = background.submit(_short)
    job.begin()
    return job


@finalizers_pass_over_it
@pytest.mark.parametrize(
    "wait",
    [
        lambda background: background.submit(_short).wait(),
        lambda background: settled(background.start(lambda: _short(_unheard)), None),
        lambda background: _begun(background)._settled(),
    ],
    ids=["a job", "a future", "a job's end"],
)
def test_an_interrupt_at_any_step_leaves_the_loop_running(
    monkeypatch: pytest.MonkeyPatch, wait: Callable[[BackgroundLoop], object]
) -> None:
    """Wherever in a wait a Ctrl-C comes, and while its traceback is kept, the next job is done."""
    monkeypatch.setattr("e2b_magic.client.background._TICK", 0.001)
    background = BackgroundLoop()
    for step in range(500):
        came = interrupted(step, lambda: wait(background))
        assert background.start(lambda: _short(_unheard)).result(timeout=10) == "done", f"at step {step}"
        if came is None:
            break
    assert 10 < step < 499
    background.close(_nothing)


async def _unheard(event: Event) -> None:
    return


async def test_what_has_begun_is_not_begun_again() -> None:
    """A job that began before anybody waited for it runs once, whichever way it is waited for then."""
    begun: list[str] = []

    async def work(emit: Emit) -> int:
        begun.append("once")
        return len(begun)

    background = BackgroundLoop()
    first, second = background.submit(work), background.submit(work)
    first.begin()
    assert await asyncio.to_thread(first.wait) == 1
    second.begin()
    assert await second.wait_async() == 2
    await asyncio.sleep(0.05)
    assert len(begun) == 2
    await asyncio.to_thread(background.close, _nothing)


def test_closing_ends_every_job_and_the_thread() -> None:
    """After `close` no thread is left, and whoever waits for a job is told that it was cancelled."""
    before = set(threading.enumerate())
    background = BackgroundLoop()
    begun = threading.Event()
    raised: list[type[BaseException]] = []

    async def never(emit: Emit) -> None:
        begun.set()
        await asyncio.sleep(60)

    def wait() -> None:
        try:
            background.submit(never).wait()
        except asyncio.CancelledError as error:
            raised.append(type(error))

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert begun.wait(5)
    background.close(_nothing)
    waiter.join(5)
    assert raised == [asyncio.CancelledError]
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("what", ["1 of its requests", "its connections"])
def test_what_does_not_end_is_named_and_not_waited_for(
    what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`close` returns whatever goes on, and says what; the thread ends when that has."""
    monkeypatch.setattr("e2b_magic.client.background.INTERRUPT_LIMIT", 0.1)
    monkeypatch.setattr("e2b_magic.client.background.CLOSE_LIMIT", 0.2)
    before, begun, last_words = set(threading.enumerate()), threading.Event(), threading.Event()

    async def clear_away() -> None:
        await asyncio.to_thread(last_words.wait, 30)

    async def slow_to_end(emit: Emit) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            await clear_away()

    background = BackgroundLoop()
    if "requests" in what:
        background.submit(slow_to_end).begin()
        assert begun.wait(30)
    else:
        background.hand_over(lambda loop: None)
    background.close(_nothing if "requests" in what else clear_away)
    assert [record.getMessage() for record in caplog.records] == [
        f"closed, but {what} did not end within 0.2 s, and may go on in a sandbox"
    ]
    last_words.set()
    (loop_thread,) = [thread for thread in set(threading.enumerate()) - before if thread.name == "e2b-magic"]
    loop_thread.join(30)
    assert not loop_thread.is_alive()


def test_a_cancellation_is_felt_by_a_job_that_begins_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that another thread begins while it is being cancelled does not run."""
    ran, beginning = threading.Event(), list[threading.Thread]()

    async def work(emit: Emit) -> None:
        ran.set()

    background = BackgroundLoop()
    job = background.submit(work)
    cancel = job._cancel

    def begun_meanwhile() -> None:
        if not beginning:
            beginning.append(threading.Thread(target=job.begin))
            beginning[0].start()
            ran.wait(0.2)
        cancel()

    monkeypatch.setattr(job, "_cancel", begun_meanwhile)
    job.cancel()
    beginning[0].join()
    with pytest.raises(asyncio.CancelledError):
        job.wait()
    background.close(_nothing)
    assert not ran.is_set()


@pytest.mark.parametrize("way", ["begin", "start"])
def test_what_is_handed_over_while_the_loop_is_closed_is_ended(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Work that comes to the loop at the moment of its end is cancelled, and nobody waits for it for ever."""
    background, closing = BackgroundLoop(), list[threading.Thread]()

    async def never(emit: Emit | None = None) -> None:
        await asyncio.sleep(60)

    def close_meanwhile(callback: Any, *arguments: Any, **options: Any) -> Any:
        if not closing:
            closing.append(threading.Thread(target=background.close, args=(_nothing,)))
            closing[0].start()
            closing[0].join(0.2)
        return hand_over(callback, *arguments, **options)

    loop = background.hand_over(lambda loop: loop)
    hand_over = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", close_meanwhile)
    work = background.submit(never).wait if way == "begin" else background.start(never).result
    with pytest.raises((asyncio.CancelledError, CancelledError)):
        work()
    closing[0].join()


def test_a_flood_is_read_to_its_end_when_the_loop_is_closed() -> None:
    """What a job has told before its loop was closed is handed over, and then how the job ended."""

    async def flood(emit: Emit) -> int:
        for _ in range(200):
            await emit(Progress("x"))
        return 7

    background, told = BackgroundLoop(), list[object]()
    job = background.submit(flood, told.append)
    job.begin()
    assert job._settled().result(30) is None
    background.close(_nothing)
    assert (job.wait(), len(told)) == (7, 200)


def test_an_interrupt_at_any_moment_of_the_start_leaves_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C just after a job was handed to the loop, or just before, ends it, and the next job works."""
    ended: list[str] = []

    async def never(emit: Emit) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("yes")

    async def seven(emit: Emit) -> int:
        return 7

    monkeypatch.setattr("e2b_magic.client.background.INTERRUPT_LIMIT", 60.0)
    background = BackgroundLoop()
    assert background.submit(seven).wait() == 7
    loop = background.hand_over(lambda loop: loop)
    hand_over = loop.call_soon_threadsafe
    for late in (True, False):
        interrupted: list[bool] = []

        def interrupt(callback: Any, *arguments: Any, late: bool = late, interrupted: list[bool] = interrupted) -> Any:
            if not interrupted:
                interrupted.append(True)
                if late:
                    hand_over(callback, *arguments)
                raise KeyboardInterrupt
            return hand_over(callback, *arguments)

        monkeypatch.setattr(loop, "call_soon_threadsafe", interrupt)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            background.submit(never).wait()
        assert time.monotonic() - began < 30  # half of what it would wait for what never began
        assert background.submit(seven).wait() == 7
    assert ended == ["yes"] * len(ended)
    assert not [task for task in asyncio.all_tasks(loop) if not task.done()]
    background.close(_nothing)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_is_told_so() -> None:
    """In a process forked from one that has used sandboxes a job is refused in one line, and does not hang."""

    async def seven(emit: Emit) -> int:
        return 7

    background = BackgroundLoop()
    background.submit(seven).wait()
    child = os.fork()
    if child == 0:
        try:
            background.submit(seven).wait()
        except ConfigurationError as error:
            os._exit(0 if "spawn" in str(error) else 2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    background.close(_nothing)


async def test_a_flood_leaves_the_callers_loop_free() -> None:
    """However many events come, other tasks of the loop that waits for them get their turns."""

    async def flood(emit: Emit) -> None:
        for _ in range(2000):
            await emit(Progress("x"))

    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    background = BackgroundLoop()
    await background.submit(flood, lambda _: time.sleep(0.0005)).wait_async()
    counting.cancel()
    assert turns > 10
    background.close(_nothing)


def test_a_closed_loop_starts_again() -> None:
    """A job after `close` gets a new loop: logging in and out closes it."""

    async def seven(emit: Emit) -> int:
        return 7

    background = BackgroundLoop()
    assert background.submit(seven).wait() == 7
    background.close(_nothing)
    assert background.submit(seven).wait() == 7
    background.close(_nothing)


def test_the_interpreter_does_not_wait_for_a_job() -> None:
    """A process that ends with a job at work ends at once."""
    code = (
        "import asyncio\n"
        "from e2b_magic.client.background import BackgroundLoop\n"
        "async def never(emit): await asyncio.sleep(60)\n"
        "import threading, time\n"
        "threading.Thread(target=BackgroundLoop().submit(never).wait, daemon=True).start()\n"
        "time.sleep(0.3)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=10)
