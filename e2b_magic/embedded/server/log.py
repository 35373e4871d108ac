"""What happened to a sandbox, for its owner to read: a bounded number of entries, in memory.

An entry never holds a command, a variable or what a process wrote: any of these may be a secret.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["debug", "info", "warn", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warn", "error")
# As many as one request may ask for (E2B's OpenAPI file); about 0.3 MB.
MOST = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened.

    Attributes:
        time: When, in seconds since the epoch.
        level: How grave it is.
        message: What it was, in a few words.
        fields: The same for programs.
    """

    time: float
    level: Level
    message: str
    fields: Mapping[str, str] = field(default_factory=dict)


class SandboxLog:
    """The last entries about one sandbox."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=MOST)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries))

    def add(self, message: str, *, level: Level = "info", **fields: str) -> None:
        """Adds an entry; the oldest goes when there are too many."""
        self._entries.append(Entry(time.time(), level, message, fields))
