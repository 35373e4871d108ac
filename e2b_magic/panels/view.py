"""What every panel is: widgets over one client, a line for messages, and work on the client's own loop.

A button's callback comes in whatever thread the kernel reads widgets' messages in (its main thread, or a subshell's),
and only starts work. The work, and with it almost every change of a widget, happens on the client's loop: it goes on
while a cell runs, and two changes of one widget never meet. What the client announces arrives in the thread that made
the change, and starts work likewise.
"""

from __future__ import annotations

import asyncio
import html
import logging
import threading
import traceback
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from ipywidgets import HTML, VBox

from e2b_magic.client import Client, shared_client
from e2b_magic.client.changes import Change, Closed
from e2b_magic.exceptions import ContainmentError, E2BMagicError
from e2b_magic.interrupts import deferred
from e2b_magic.panels.style import sheet
from e2b_magic.terminal import one_line

_log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, None]]


class Message(HTML):  # type: ignore[misc]  # ipywidgets has no types
    """One line that says what happened: what went wrong and what to do, with the details folded."""

    def clear(self) -> None:
        """Says nothing."""
        self.value = ""

    def say(self, text: str) -> None:
        """Says what was done."""
        self.value = f'<div class="e2b-note" role="status">{html.escape(one_line(text))}</div>'

    def fail(self, error: Exception) -> None:
        """Says what went wrong."""
        line = str(error) if isinstance(error, E2BMagicError) else f"e2b-magic failed with {type(error).__name__}"
        details = "\n".join(f"{name}: {value}" for name, value in _details(error) if value)
        self.value = (
            f'<div class="e2b-error" role="alert">{html.escape(one_line(line) or type(error).__name__)}'
            f"<details><summary>Details</summary><pre>{html.escape(details)}</pre></details></div>"
        )


def _details(error: Exception) -> list[tuple[str, object]]:
    result = getattr(error, "result", None)
    known: list[tuple[str, object]] = [("error", type(error).__name__)]
    if isinstance(error, ContainmentError):
        known += [("cause", error.cause), ("remedy", error.remedy)]
    if result is not None:
        known += [("execution", result.id), ("sandbox", result.sandbox_id), ("backend", result.backend)]
    if not isinstance(error, E2BMagicError):
        # The place, not the text: a text might hold what was sent.
        known += [
            ("place", f"{frame.name}, line {frame.lineno}") for frame in traceback.extract_tb(error.__traceback__)[-1:]
        ]
        known += [("advice", "please report this")]
    return known


class View(VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A panel, or a part of one that can stand alone.

    Args:
        client: Whose state to show; the kernel's client when left out.
    """

    def __init__(self, client: Client | None = None) -> None:
        self.client = client or shared_client()
        self.message = Message()
        self.visible = True
        """Whether anybody sees it, as far as the panel that holds it knows."""
        self._tasks: set[Future[None]] = set()
        self._beginning = threading.Lock()
        self._ended = False
        super().__init__()
        self.add_class("e2b")
        self._unsubscribe = self.client.changes.subscribe(self._changed)

    def show(self, *widgets: Any) -> None:
        """Puts widgets below each other, and the message line above the first."""
        self.children = (sheet(), self.message, *widgets)

    def changed(self, change: Change) -> None:
        """Is told of a change, in any thread; to be overridden."""

    def looked_at(self, now: bool) -> None:
        """Is told by the panel that holds it whether it is seen now: what repeats may rest while it is not."""
        self.visible = now

    def _changed(self, change: Change) -> None:
        if isinstance(change, Closed):
            self.message.say("The client of this panel was closed: %e2b panel brings a new one")
        self.changed(change)

    def start(self, work: Work) -> Future[None] | None:
        """Starts work on the client's loop, and says in the message line when it fails.

        Returns:
            The work's future; None where none can be done, which the message line of an open panel says too.
        """
        try:
            with self._beginning:
                if self._ended:  # by then a change may still be told, and work have to feel that it was cancelled
                    return None
                future = self.client.in_background(lambda: self._guarded(work))
                self._tasks.add(future)
        except E2BMagicError as error:
            self.message.fail(error)
            return None
        with deferred():
            future.add_done_callback(self._tasks.discard)
        return future

    async def _guarded(self, work: Work) -> None:
        try:
            await work()
        except E2BMagicError as error:
            self.message.fail(error)
        except Exception as error:  # noqa: BLE001  nobody else would hear of it
            _log.error("a panel's work failed: %s", type(error).__name__)
            self.message.fail(error)

    async def aside(self, work: Callable[[], T]) -> T:
        """Does what takes its time in a thread, and gives the result, while the client's loop goes on.

        A daemon thread, since the interpreter would wait at its end for one of asyncio's own.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def settle(give: Callable[[], None]) -> None:
            if not result.done():
                give()

        def run() -> None:
            try:
                value = work()
            except Exception as error:  # noqa: BLE001  it is raised where the result is awaited
                give = partial(result.set_exception, error)
            else:
                give = partial(result.set_result, value)
            with suppress(RuntimeError):  # the loop was closed meanwhile, and nobody awaits it any more
                loop.call_soon_threadsafe(settle, give)

        threading.Thread(target=run, name="e2b-magic-panel", daemon=True).start()
        return await result

    def close(self) -> None:
        """Ends the panel: its work, its observers and every widget in it."""
        self._unsubscribe()
        with self._beginning:
            self._ended = True
        for task in tuple(self._tasks):
            task.cancel()
        close_all(self.children)
        self.layout.close()
        super().close()

    def __del__(self) -> None:
        # ipywidgets would close it here. It is closed by then, or was never made whole and has nothing to close.
        pass

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """Gives the panel for a live kernel, and for a notebook without one what it was."""
        shown: dict[str, Any] = super()._repr_mimebundle_(**options) or {}
        text = (
            f"{type(self).__name__} of e2b-magic, project {self.client.project} on {self.client.configuration.backend}"
        )
        advice = "Run this cell with a kernel to use it."
        shown["text/plain"] = f"<{text}. {advice}>"
        shown["text/html"] = f"<p><strong>{html.escape(text)}.</strong> <em>{advice}</em></p>"
        return shown


def under_way(work: Future[None] | None) -> bool:
    """Whether work that was started goes on: what it does is not to be begun twice by a button pressed twice."""
    return work is not None and not work.done()


def close_all(widgets: tuple[Any, ...]) -> None:
    """Closes widgets and all that is in them, layouts and styles included."""
    for widget in widgets:
        if not isinstance(widget, View):
            close_all(tuple(getattr(widget, "children", ())))
            for part in ("layout", "style"):
                if (owned := getattr(widget, part, None)) is not None:
                    owned.close()
        widget.close()


class Refresh:
    """Work that brings a view up to date: done soon, once for however often it was asked for meanwhile.

    Args:
        view: Whose work it is.
        work: Does it.
        pause: The shortest time from one end to the next beginning, in seconds.
    """

    def __init__(self, view: View, work: Work, *, pause: float = 0.05) -> None:
        self._view = view
        self._work = work
        self._pause = pause
        self._lock = threading.Lock()
        self._asked = False
        self._task: Future[None] | None = None

    def ask(self) -> None:
        """Has the work done, from any thread."""
        with self._lock:
            self._asked = True
            if not under_way(self._task):
                self._task = self._view.start(self._run)

    async def _run(self) -> None:
        while self._goes_on():
            self._asked = False  # whatever is asked for from here on, this time may not have seen
            try:
                await self._work()
            except Exception:
                # Whoever asked meanwhile has no answer yet: the work is done once more, and tells how that went.
                if not self._goes_on():
                    raise
            await asyncio.sleep(self._pause)

    def _goes_on(self) -> bool:
        """Whether it was asked for; if not, the next to ask begins anew, though this work has not quite ended yet."""
        with self._lock:
            if not self._asked:
                self._task = None
            return self._asked


class Ticker:
    """Work that is repeated while something goes on.

    Args:
        view: Whose work it is.
        work: Does it.
        period: Seconds between two times.
    """

    def __init__(self, view: View, work: Work, *, period: float) -> None:
        self._view = view
        self._work = work
        self._period = period
        self._task: Future[None] | None = None

    def start(self) -> None:
        """Begins, unless it goes on already."""
        if not under_way(self._task):
            self._task = self._view.start(self._run)

    def stop(self) -> None:
        """Ends it."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            await self._work()
            await asyncio.sleep(self._period)
