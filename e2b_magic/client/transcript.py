"""The end of what a command wrote, its two streams in the order in which they came, within a bound."""

from __future__ import annotations

from collections import deque
from typing import Literal

from e2b_magic.worker.protocol import Output


class Transcript:
    """Keeps the last characters of both streams together.

    Args:
        limit: How many characters to keep.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: deque[Output] = deque()
        self._length = 0
        self.dropped = 0
        """How many characters are kept no more."""

    def append(self, stream: Literal["stdout", "stderr"], text: str) -> None:
        """Adds the next piece."""
        if text:
            self._pieces.append(Output(stream, text))
            self._length += len(text)
            self._trim()

    def _trim(self) -> None:
        while (excess := self._length - self._limit) > 0:
            first = self._pieces.popleft()
            gone = min(excess, len(first.text))
            if gone < len(first.text):
                self._pieces.appendleft(Output(first.stream, first.text[gone:]))
            self._length -= gone
            self.dropped += gone

    def pieces(self) -> tuple[Output, ...]:
        """Gives what is kept; neighbours of one stream as one piece."""
        joined: list[tuple[Literal["stdout", "stderr"], list[str]]] = []
        for piece in self._pieces:
            if joined and joined[-1][0] == piece.stream:
                joined[-1][1].append(piece.text)
            else:
                joined.append((piece.stream, [piece.text]))
        merged = tuple(Output(stream, "".join(texts)) for stream, texts in joined)
        self._pieces = deque(merged)
        return merged
