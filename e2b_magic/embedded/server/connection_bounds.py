"""How many connections may stand open, and which of them yields to a new one.

Whoever reaches the port can open connections without any token, and each takes a descriptor that sandboxes need. So
there is a bound, above all for those with no request under way, of which the oldest yields to a new one. What has a
request under way is never closed for it.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

# Seconds that a request's header may take to come; on the loopback interface it comes at once.
HEADER_TIMEOUT = 20.0


class Bounded(Protocol):
    """A connection that counts.

    Attributes:
        used: Whether a request has come over it.
        transport: What it is closed by.
    """

    used: bool
    transport: asyncio.Transport


class ConnectionBounds:
    """The connections that are open, and how many of them there may be.

    Args:
        most: How many at once. One more, and an idle one is closed for it; without such a one, it is refused.
        most_idle: How many with no request under way. One more, and the oldest that never made a request is closed;
            without such a one, that which idles longest.
        header_timeout: Seconds that the header of a request may take to come.
    """

    def __init__(self, most: int, most_idle: int, header_timeout: float = HEADER_TIMEOUT) -> None:
        self._most = most
        self._most_idle = most_idle
        self.header_timeout = header_timeout
        self._open: set[Bounded] = set()
        # Dictionaries for their order: the first is the oldest.
        self._unused: dict[Bounded, None] = {}
        self._kept: dict[Bounded, None] = {}

    def enter(self, connection: Bounded) -> bool:
        """Enters a connection that was opened, and says whether there is room for it."""
        if len(self._open) >= self._most and not self._close_oldest():
            return False
        self._open.add(connection)
        return True

    def leave(self, connection: Bounded) -> None:
        """Takes out a connection that is closed."""
        self.busy(connection)
        self._open.discard(connection)

    def idle(self, connection: Bounded) -> None:
        """Notes that a connection begins to idle, having made a request or not."""
        # Before the new one is in: it would be the only unused one where all others are kept, and nobody could come.
        if len(self._unused) + len(self._kept) >= self._most_idle:
            self._close_oldest()
        (self._kept if connection.used else self._unused)[connection] = None

    def busy(self, connection: Bounded) -> None:
        """Notes that a connection idles no longer."""
        self._unused.pop(connection, None)
        self._kept.pop(connection, None)

    def _close_oldest(self) -> bool:
        oldest = next(iter(self._unused or self._kept), None)
        if oldest is None:
            return False
        self.leave(oldest)
        oldest.transport.close()
        return True
