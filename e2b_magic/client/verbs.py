"""What every group of verbs stands on: the session's configuration, its store, and the road to its worker.

A group is a class in a module of its own (`commands`, `files`, `sandboxes`, `history`), and `Client` is all of them
together. Every verb that needs a sandbox builds a typed request and sends it down one road: store, caller, store.
What the work tells on its way (output, progress) goes to `on_event`, in the thread that called.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from e2b_magic.client.background import BackgroundLoop, Job, OnEvent
from e2b_magic.client.changes import Changes
from e2b_magic.client.options import OptionsT, checked
from e2b_magic.client.recorder import Recorder
from e2b_magic.client.work import Work
from e2b_magic.config import Configuration
from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.store import Store
from e2b_magic.worker.caller import Caller
from e2b_magic.worker.protocol import Emit

T = TypeVar("T")


class Verbs:
    """One session's store and its way to a worker.

    Args:
        configuration: Which E2B to use.
        store: Where results, history and projects are kept.
        caller: The way to a worker.

    Attributes:
        project: The current project's name.
        changes: Where to be told of what changes in this session, whoever changes it.
    """

    def __init__(self, configuration: Configuration, store: Store, caller: Caller) -> None:
        self.configuration = configuration
        self.project = "default"
        self.store = store
        self.changes = Changes()
        self._recorder = Recorder(store, self.changes)
        self._work = Work(configuration, self._recorder, caller)
        self._background = BackgroundLoop()
        self._closed = False

    def _submit(self, work: Callable[[Emit], Coroutine[Any, Any, T]], on_event: OnEvent | None = None) -> Job[T]:
        self._check_open()
        return self._background.submit(work, on_event)

    def in_background(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """Starts a coroutine on the client's own loop and gives its future, for work that no thread waits for.

        The loop's end, by `close`, `login` or `logout`, cancels it.

        Raises:
            InvalidRequestError: The client is closed.
        """
        self._check_open()
        return self._background.start(work)

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidRequestError("This client is closed: make another one")

    def _here(self, options: OptionsT, known: type) -> OptionsT:
        return checked(options, known, self.project)
