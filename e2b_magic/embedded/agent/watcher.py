"""One watch on a directory, and what has happened there that its client does not know yet."""

from __future__ import annotations

from e2b_magic.embedded.agent.channel import encode
from e2b_magic.embedded.agent.entries import describe
from e2b_magic.embedded.agent.failures import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Answer = Callable[[list[dict[str, Any]] | Failure], None]

# What may wait for a client that does not ask, as it would take in an answer: half of the longest one.
BACKLOG = 4 * 1024 * 1024
# Of which an entry is told; what was removed or renamed away has none.
_WITH_ENTRY = ("create", "write", "chmod")


class Watcher:
    """A watch on a directory.

    Args:
        shown: The directory's path as the client sees it.
        root: The same without links.
        recursive: Whether what lies deeper counts.
        include_entry: Whether the client wants to know of each file what `stat` would tell.

    Attributes:
        number: The directory's, by inotify; -1 when it is not there any more.
    """

    def __init__(self, shown: str, root: str, *, recursive: bool, include_entry: bool) -> None:
        self.root = root
        self.recursive = recursive
        self.number = -1
        self._shown = shown
        self._include_entry = include_entry
        self._below = root.rstrip("/") + "/"
        self._events: list[dict[str, Any]] = []
        self._size = 0
        self._lost = ""
        self._answer: Answer | None = None

    def wants(self, directory: str) -> bool:
        """Whether what happens in a directory, given without links, is of this watch."""
        if self.number < 0:
            return False
        return directory == self.root or (self.recursive and directory.startswith(self._below))

    def tell(self, kind: str, path: str) -> None:
        """Takes an event down.

        Args:
            kind: `create`, `write`, `remove`, `rename` or `chmod`.
            path: Of what, without links.
        """
        name = "." if path == self.root else path[len(self._below) :]
        event = {"name": name, "type": kind, "entry": self._entry(name) if kind in _WITH_ENTRY else None}
        if self._events and self._events[-1] == event:
            return  # as the kernel joins equal events that follow each other
        size = len(encode(event))
        if self._size + size > BACKLOG:
            self.lose("more has happened than could be kept")
            return
        self._events.append(event)
        self._size += size

    def _entry(self, name: str) -> dict[str, Any] | None:
        if not self._include_entry:
            return None
        try:
            return describe(self._shown if name == "." else f"{self._shown.rstrip('/')}/{name}")
        except OSError:
            return None  # gone or renamed since

    def lose(self, why: str) -> None:
        """Remembers that the events do not tell all."""
        self._lost = why

    def next(self, answer: Answer, *, wait: bool) -> None:
        """Answers with the events that are not told yet.

        Args:
            answer: Called with them, or with `exhausted` where some were lost, after those that were not.
            wait: Whether to wait for some; else there may be none.
        """
        self.end([])
        self._answer = answer
        if not wait or self._events or self._lost:
            self.flush(force=True)

    def flush(self, *, force: bool = False) -> None:
        """Answers who waits, if there is something to tell."""
        if self._answer is None or not (self._events or self._lost or force):
            return
        if self._lost and not self._events:
            lost, self._lost = self._lost, ""
            self.end(Failure("exhausted", f"{lost} about '{self._shown}': list it, and ask for events oftener"))
            return
        events, self._events, self._size = self._events, [], 0
        self.end(events)

    def end(self, outcome: list[dict[str, Any]] | Failure) -> None:
        """Answers who waits, if someone does."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer(outcome)
