"""A command's output, kept within a bound: its beginning, its end, and a line saying what is missing between."""

from __future__ import annotations

from collections import deque

HALF = 4 * 1024 * 1024


class OutputBuffer:
    """Keeps the first and the last characters of a stream, however long it is.

    The whole of a long output is neither kept nor wanted: a notebook that holds a gigabyte does not open again.
    The beginning and the end are what people look for.

    Args:
        half: How many characters to keep of the beginning, and how many of the end.
    """

    def __init__(self, half: int = HALF) -> None:
        self._half = half
        self._head: list[str] = []
        self._head_room = half
        self._tail: deque[str] = deque()
        self._tail_length = 0
        self._dropped = 0

    @property
    def truncated(self) -> bool:
        """Whether something was left out."""
        return self._dropped > 0

    def append(self, text: str) -> None:
        """Adds the next piece of the stream."""
        if self._head_room:
            self._head.append(text[: self._head_room])
            text, self._head_room = text[self._head_room :], max(0, self._head_room - len(text))
        if text:
            self._tail.append(text)
            self._tail_length += len(text)
            self._trim()

    def _trim(self) -> None:
        # Whole pieces are dropped from the left, and the first one that straddles the bound is cut: amortised O(1).
        while self._tail_length - len(self._tail[0]) >= self._half:
            gone = len(self._tail.popleft())
            self._tail_length -= gone
            self._dropped += gone
        if (excess := self._tail_length - self._half) > 0:
            self._tail[0] = self._tail[0][excess:]
            self._tail_length -= excess
            self._dropped += excess

    def text(self) -> str:
        """Gives what was kept; a line in the middle says how many characters are missing."""
        middle = [f"\n[… {self._dropped:,} characters left out …]\n"] if self._dropped else []
        return "".join([*self._head, *middle, *self._tail])
