"""An event loop in a daemon thread, and jobs on it that another thread or loop can follow, cancel and wait for.

The work runs here so that the main thread is free to feel Ctrl-C: the SDK's HTTP client would swallow it until the
server answers. The events of a job are handed to the thread that waits for it, since a notebook shows what a thread
prints under whatever cell happens to run. Daemon, so that the interpreter does not wait for it at its end, as it
would for a ThreadPoolExecutor's threads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, ClassVar, Generic, TypeVar

from e2b_magic.exceptions import ConfigurationError, InvalidRequestError
from e2b_magic.interrupts import deferred
from e2b_magic.worker.protocol import Emit, Event

_log = logging.getLogger(__name__)

T = TypeVar("T")
OnEvent = Callable[[Event], None]

PENDING_EVENTS = 256
"""How many events may wait for their reader before the sandbox's output has to wait too."""
_BATCH = PENDING_EVENTS // 4
INTERRUPT_LIMIT = 1.9
"""How long an interrupted job may take to end, in seconds, before its waiter goes on without it."""
CLOSE_LIMIT = INTERRUPT_LIMIT + 1.0
"""How long all may take to end when the loop is closed, in seconds."""
_JOB = "e2b-magic job"
_TICK = 0.1  # a bound on every wait: on Windows a thread in a lock without timeout does not feel Ctrl-C


class Job(Generic[T]):
    """A coroutine on the background loop, seen from outside it; it begins when it is waited for, unless before.

    Args:
        background: Whose loop it is.
        work: Makes the coroutine, given the `Emit` whose events this job hands over.
        on_event: Takes the events, in the thread or on the loop that waits; without it they are dropped at once.
    """

    def __init__(
        self,
        background: BackgroundLoop,
        work: Callable[[Emit], Coroutine[Any, Any, T]],
        on_event: OnEvent | None = None,
    ) -> None:
        self._background = background
        self._work = work
        self._on_event = on_event
        self._outcome: Future[T] = Future()
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._handing_over = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._room: asyncio.Semaphore | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake: Callable[[], object] | None = None
        self._taken = 0
        self._began = False
        # Beside the outcome's own word, whose lock a Ctrl-C can leave taken: the loop would wait for it for ever.
        self._over = False

    def begin(self) -> None:
        """Has the job begin now, if it has not yet; whoever calls this waits for it later, or cancels it."""
        # Called inside the waiter's `try`: an interrupt that comes while this is handed to the loop finds somebody
        # who cancels it.
        with self._handing_over:
            if self._loop is None:
                self._background.hand_over(self._hand_over_to)

    def _hand_over_to(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        assert self._loop is not None  # noqa: S101  it is what calls this
        if self._outcome.done():  # it was cancelled before anybody waited for it
            return
        self._room = asyncio.Semaphore(PENDING_EVENTS)
        self._task = self._loop.create_task(self._run(self._work), name=_JOB)

    async def _run(self, work: Callable[[Emit], Coroutine[Any, Any, T]]) -> None:
        self._began = True
        try:
            result = await work(self._emit)
        except BaseException as error:  # noqa: BLE001  it is handed on to whoever waits, whatever it is
            self._outcome.set_exception(error)
        else:
            self._outcome.set_result(result)
        finally:
            self._end()

    def _end(self) -> None:
        self._over = True
        self._put(None)

    async def _emit(self, event: Event) -> None:
        if self._on_event is not None and self._room is not None:
            await self._room.acquire()
            self._put(event)

    def _put(self, event: Event | None) -> None:
        self._events.put(event)
        if self._wake is not None:
            self._wake()

    def _took_one(self) -> None:
        # In batches: to wake the loop for each event would cost more than the event.
        self._taken += 1
        if self._taken == _BATCH:
            self._taken = 0
            self._tell(self._make_room)

    def _tell(self, callback: Callable[[], None]) -> None:
        """Has the loop call something; one that was closed has ended this job, and needs to be told nothing."""
        with suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(callback)

    def _make_room(self) -> None:
        if self._room is not None:
            for _ in range(_BATCH):
                self._room.release()

    def cancel(self) -> None:
        """Asks the job to end; it may take its time to clean up."""
        with self._handing_over:  # another thread may begin it at this very moment
            if self._loop is None:
                self._cancel()
            else:
                self._tell(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if not self._began and not self._outcome.done():
            # The interrupt came before the loop was told to begin, or before the task's first step, which a cancelled
            # task never makes: nothing else will say that it is over.
            self._outcome.set_exception(asyncio.CancelledError())
            self._end()

    def wait(self) -> T:
        """Gives the job's result, and its events to `on_event`, in the calling thread.

        Raises:
            KeyboardInterrupt: It came while waiting. The job was cancelled and its last events were handed over;
                whatever it takes longer than `INTERRUPT_LIMIT` goes on without a waiter.
            InvalidRequestError: This is the loop's own thread, which would wait for ever.
        """
        self._background.refuse_to_wait()
        try:
            self.begin()
            self._drain(float("inf"))
        except BaseException:
            # A second Ctrl-C, or an error of on_event's own, must not leave the job running either.
            self.cancel()
            self._drain(time.monotonic() + INTERRUPT_LIMIT)
            raise
        return self._outcome.result()

    def _drain(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            try:
                event = self._events.get(timeout=_TICK)
            except queue.Empty:
                # An interrupt that comes just as `get` returns takes along what it brought, which may be the end.
                if self._over:
                    return
                continue
            if event is None:
                return
            self._took_one()
            if self._on_event is not None:
                self._on_event(event)

    async def wait_async(self) -> T:
        """Does what `wait` does, in a coroutine of any event loop; to cancel that cancels the job."""
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(arrived.set)
        try:
            self.begin()
            while self._pass_on():
                await arrived.wait()
                arrived.clear()
        except BaseException:
            self.cancel()
            with deferred():
                end = asyncio.wrap_future(self._settled())
            await asyncio.wait([end], timeout=INTERRUPT_LIMIT)
            raise
        finally:
            self._wake = None  # whoever takes longer to end finds no loop to wake, which may be closed by then
        return self._outcome.result()

    def _pass_on(self) -> bool:
        """Hands over what is there, a batch at a time so that the loop stays free; says whether more is to come."""
        for _ in range(_BATCH):
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return True
            if event is None:
                return False
            self._took_one()
            if self._on_event is not None:
                self._on_event(event)
        if self._wake is not None:
            self._wake()
        return True

    def _settled(self) -> Future[None]:
        settled: Future[None] = Future()
        with deferred():
            self._outcome.add_done_callback(lambda _: settled.set_result(None))
        return settled


def settled(future: Future[Any], timeout: float | None) -> bool:
    """Whether work on the loop has ended in time; where `Future.result` waits, a Ctrl-C can leave its lock taken.

    Args:
        future: The work's future.
        timeout: How long to wait, in seconds; None waits for as long as it takes.
    """
    ended = threading.Lock()
    ended.acquire()
    with deferred():
        future.add_done_callback(lambda _: ended.release())
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    while not ended.acquire(timeout=max(0.0, min(_TICK, deadline - time.monotonic()))):
        if time.monotonic() >= deadline:
            return False
    return True


def _new_event_loop() -> asyncio.AbstractEventLoop:
    """Gives uvloop's loop, on which a small command takes a tenth less; asyncio's own on Windows, which has none."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class BackgroundLoop:
    """An event loop that starts with its first job and ends when it is closed, or with the process."""

    _process: ClassVar[int | None] = None  # the one whose threads the SDK's native runtime has

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[Emit], Coroutine[Any, Any, T]], on_event: OnEvent | None = None) -> Job[T]:
        """Gives a job; see `Job`."""
        return Job(self, work, on_event)

    def start(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Starts a coroutine at once, whether or not anybody will wait for it, and gives its future."""
        return self.hand_over(lambda loop: asyncio.run_coroutine_threadsafe(work(), loop))

    def refuse_to_wait(self) -> None:
        """Raises an error in the loop's own thread.

        Raises:
            InvalidRequestError: This is that thread.
        """
        if threading.current_thread() is self._thread:
            raise InvalidRequestError(
                "This was called on the client's own loop, where it would wait for ever: await the verb whose name "
                "begins with `a`, such as aexecute_command"
            )

    def hand_over(self, to: Callable[[asyncio.AbstractEventLoop], T]) -> T:
        """Has something handed to the loop, which is not closed before it has come there; gives what `to` gives.

        Args:
            to: Called with the loop, which runs in its thread; it returns at once.

        Raises:
            ConfigurationError: This process was forked from one that has used a loop: threads do not survive a fork.
        """
        with self._lock:
            return to(self._running())

    def _running(self) -> asyncio.AbstractEventLoop:
        if BackgroundLoop._process not in (None, os.getpid()):
            raise ConfigurationError(
                "This process was forked from one that uses sandboxes, and cannot use them itself: start it with "
                "multiprocessing's 'spawn' or 'forkserver' method, or use a thread"
            )
        if self._loop is None:
            with deferred():
                self._loop, self._thread = self._started()
        return self._loop

    def _started(self) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
        loop = _new_event_loop()
        thread = threading.Thread(target=_serve, args=(loop,), name="e2b-magic", daemon=True)
        thread.start()
        BackgroundLoop._process = os.getpid()
        return loop, thread

    def close(self, last: Callable[[], Awaitable[None]]) -> None:
        """Ends every job, awaits `last` on the loop, and ends the thread.

        What has not ended after `CLOSE_LIMIT` is told in the log; the thread goes on for it, and ends when it does.
        """
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        with deferred():
            ending = asyncio.run_coroutine_threadsafe(_end_all(last), loop)
            ending.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))
        thread.join(CLOSE_LIMIT)
        if not thread.is_alive():
            ending.result()
            return
        jobs = sum(task.get_name() == _JOB for task in asyncio.all_tasks(loop))
        what = f"{jobs} of its requests" if jobs else "its connections"
        _log.warning("closed, but %s did not end within %.1f s, and may go on in a sandbox", what, CLOSE_LIMIT)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


async def _end_all(last: Callable[[], Awaitable[None]]) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=INTERRUPT_LIMIT)
    await last()
    if others:
        await asyncio.wait(others)  # a loop that is closed before would complain of each
    # What the HTTP clients have left half read ends on its own loop, or Python complains that nobody ended it.
    await asyncio.get_running_loop().shutdown_asyncgens()
