"""Where a request's body ends, and what of its bytes is content: by its length, or chunk by chunk (RFC 9112, 6 and 7).

A framing works in place: content moves to the front of the very buffer that it was received into, over the lines
between the chunks. So a body of any size passes through two buffers (`incoming`) and is copied by the kernel alone,
but for the few bytes' shift that those lines make.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum, auto
from typing import Protocol

# The longest line between two chunks, and all lines after the last one together; h11's bounds are of this order.
_LONGEST_LINE = 4 * 1024
_LONGEST_TRAILER = 16 * 1024
# Sixteen digits are more than any disk holds; an extension means nothing to anybody and is passed over.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")

Header = tuple[bytes, bytes]


class FramingError(ValueError):
    """A body is not framed as HTTP/1.1 has it, so that nobody can tell where it ends."""


class Framing(Protocol):
    """How a body is told from what follows it.

    Attributes:
        complete: Whether all of the body was there.
    """

    complete: bool

    def unwrap(self, data: memoryview) -> tuple[int, int]:
        """Takes what came of a body.

        Args:
            data: It; the content in it moves to its front.

        Returns:
            How many bytes are content, and how many of the data belong to the body at all.

        Raises:
            FramingError: It is no such body.
        """


class ByLength:
    """A body of a known length.

    Args:
        length: Bytes.
    """

    def __init__(self, length: int) -> None:
        self._left = length
        self.complete = length == 0

    def unwrap(self, data: memoryview) -> tuple[int, int]:
        """Takes what came of the body (see `Framing`)."""
        count = min(len(data), self._left)
        self._left -= count
        self.complete = self._left == 0
        return count, count


class _Part(Enum):
    SIZE = auto()
    END = auto()
    TRAILER = auto()


class ByChunks:
    """A body in chunks, each with its size before it; the last one is empty."""

    def __init__(self) -> None:
        self._next = _Part.SIZE
        self._left = 0
        self._line = b""
        self._trailer = 0
        self.complete = False

    def unwrap(self, data: memoryview) -> tuple[int, int]:
        """Takes what came of the body (see `Framing`)."""
        content = at = 0
        while at < len(data) and not self.complete:
            if not self._left:
                at = self._read_line(data, at)
                continue
            count = min(self._left, len(data) - at)
            if content != at:
                data[content : content + count] = data[at : at + count]
            content, at, self._left = content + count, at + count, self._left - count
        return content, at

    def _read_line(self, data: memoryview, at: int) -> int:
        """Reads what is there of a line from some place on; gives the place after it."""
        begun = bytes(data[at : at + _LONGEST_LINE])
        end = begun.find(b"\n") + 1
        self._line += begun[:end] if end else begun
        if len(self._line) > _LONGEST_LINE:
            raise FramingError("a line between the chunks is too long")
        if not end:
            return at + len(begun)
        line, self._line = self._line, b""
        self._take_line(line)
        return at + end

    def _take_line(self, line: bytes) -> None:
        if self._next is _Part.TRAILER:
            self._trailer += len(line)
            if self._trailer > _LONGEST_TRAILER:
                raise FramingError("the lines after the last chunk are too long")
            self.complete = line == b"\r\n"
        elif self._next is _Part.END:
            if line != b"\r\n":
                raise FramingError("a chunk is longer than its size")
            self._next = _Part.SIZE
        else:
            size = _SIZE.fullmatch(line)
            if size is None:
                raise FramingError("a chunk has no size")
            self._left = int(size[1], 16)
            self._next = _Part.END if self._left else _Part.TRAILER


def framing_of(headers: Iterable[Header]) -> Framing:
    """Gives the framing that a request's headers name; h11 has looked at them already.

    Args:
        headers: Names in lower case, and values.
    """
    named = dict(headers)
    # Where both are named the chunks count (RFC 9112, 6.3), as they do for h11.
    if b"transfer-encoding" in named:
        return ByChunks()
    return ByLength(int(named.get(b"content-length", b"0")))
