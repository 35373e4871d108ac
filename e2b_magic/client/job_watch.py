"""Noticing, beside everything else, that a background job has ended, so that the next prompt can say so.

One task on the client's loop asks the worker now and then; whoever shows prompts asks `finished`, which waits
for nothing. A dev server is not watched: it is meant to go on, and watching would keep its sandbox alive.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final

from e2b_magic.exceptions import E2BMagicError
from e2b_magic.records import BackgroundJob

FIRST_PAUSE: Final = 0.5
"""How long to wait before the first question, in seconds; each further pause is half as long again."""
LONGEST_PAUSE: Final = 10.0
"""The longest time between two questions, in seconds."""

Refresh = Callable[[str], Awaitable[list[BackgroundJob]]]
Start = Callable[[Callable[[], Coroutine[Any, Any, None]]], Future[None]]


class JobWatch:
    """Watches the jobs of one client.

    Args:
        refresh: Gives a project's jobs as they stand.
        start: Starts a coroutine on the client's loop.
    """

    def __init__(self, refresh: Refresh, start: Start) -> None:
        self._refresh = refresh
        self._start = start
        self._lock = threading.Lock()
        self._watched: dict[str, BackgroundJob] = {}
        self._finished: dict[str, BackgroundJob] = {}
        self._ended: dict[str, BackgroundJob] = {}
        self._task: Future[None] | None = None
        self._pause = FIRST_PAUSE

    def add(self, job: BackgroundJob) -> None:
        """Watches a job from here on, should it run and be none that serves."""
        if not job.running or job.port is not None:
            return
        with self._lock:
            if job.id in self._watched:
                return
            self._watched[job.id] = job
            self._pause = FIRST_PAUSE
            if self._task is None or self._task.done():
                self._task = self._start(self._watch)

    def note(self, job: BackgroundJob) -> None:
        """Takes in how a job stands."""
        with self._lock:
            if not job.running:
                self._ended[job.id] = job
                if self._watched.pop(job.id, None) is not None:
                    self._finished[job.id] = job

    def last_seen(self, job: BackgroundJob) -> BackgroundJob:
        """Gives a job as it ended, if that was seen, or else as it is given."""
        return self._ended.get(job.id, job)

    def told(self, job: BackgroundJob) -> None:
        """Says nothing of a job any more: its end was shown already."""
        with self._lock:
            if not job.running:
                self._watched.pop(job.id, None)
                self._finished.pop(job.id, None)

    def finished(self) -> list[BackgroundJob]:
        """Gives, once, the jobs that have ended since it was last asked."""
        with self._lock:
            finished, self._finished = list(self._finished.values()), {}
        return finished

    async def _watch(self) -> None:
        while projects := self._projects():
            await asyncio.sleep(self._pause)
            self._pause = min(LONGEST_PAUSE, 1.5 * self._pause)
            for project in projects:
                try:
                    await self._refresh(project)  # which notes what it finds
                except E2BMagicError:
                    # Whoever asks for the jobs is told what is wrong; a prompt is no place for it. Ask again later.
                    self._pause = LONGEST_PAUSE

    def _projects(self) -> set[str]:
        with self._lock:
            projects = {job.project for job in self._watched.values()}
            if not projects:
                self._task = None  # inside the lock: a job added from here on starts another
            return projects
