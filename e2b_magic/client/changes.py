"""What a client tells of its changes, so that several views of one client stay in step.

Whatever changes the session's state, a magic, a panel or a script, does it through the client, which announces it
here. A subscriber is called in the thread that made the change, which may be any: it takes note and returns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from e2b_magic.records import BackgroundJob, ExecutionResult

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExecutionChanged:
    """A command began, ended, or was answered from the store; `record` is as it stands."""

    record: ExecutionResult


@dataclass(frozen=True, slots=True)
class JobChanged:
    """A background job began, ended, or is known for the first time; `job` is as it stands."""

    job: BackgroundJob


@dataclass(frozen=True, slots=True)
class ProjectChanged:
    """A project's sandbox, its files or anything else that is stored of it is another."""

    project: str


@dataclass(frozen=True, slots=True)
class CacheCleared:
    """Cached results were forgotten."""


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """The current project is another, or the backend."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The client was closed: it answers no more."""


Change = ExecutionChanged | JobChanged | ProjectChanged | CacheCleared | SettingsChanged | Closed
Subscriber = Callable[[Change], None]


class Changes:
    """The subscribers of one client."""

    def __init__(self) -> None:
        self._subscribers: dict[object, Subscriber] = {}

    def __len__(self) -> int:
        return len(self._subscribers)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Has a function called with every change, and gives the function that ends this; to end it twice is no slip.

        Args:
            subscriber: Called in the thread that made the change, which waits for it: it should return at once.
        """
        token = object()
        self._subscribers[token] = subscriber

        def unsubscribe() -> None:
            self._subscribers.pop(token, None)

        return unsubscribe

    def announce(self, change: Change) -> None:
        """Tells every subscriber; one that fails spoils neither the work that made the change nor the others."""
        for subscriber in tuple(self._subscribers.values()):
            try:
                subscriber(change)
            except Exception as error:  # noqa: BLE001  it is a view's error, and the work goes on
                # The kind alone: a text might hold what was run.
                _log.error("a subscriber to %s failed: %s", type(change).__name__, type(error).__name__)
