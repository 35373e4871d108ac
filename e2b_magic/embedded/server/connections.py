"""The TCP connections of the HTTP server: how long each may idle, and how to break one off.

A client whose sandbox is killed must see its connection reset: E2B's SDKs take a clean end of a stream, or an error
sent in it, for something else than the sandbox's death. ASGI knows no such thing, so `ConnectionProtocol` puts each
request's transport into its scope, where `transport_of` finds it and `reset` breaks it off.

Whoever reaches the port can open connections without any token, and each takes a descriptor that sandboxes need. So
a request's header has a deadline, and `IdleConnections` bounds how many connections stand open with no request under
way. What has a request under way is never closed for it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast

import h11
from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

# Seconds that a request's header may take to come; on the loopback interface it comes at once.
HEADER_TIMEOUT = 20.0
_TRANSPORT = "transport"
# Lingering for no time at all makes close() send RST instead of FIN (socket(7), SO_LINGER).
_NO_LINGER = struct.pack("ii", 1, 0)


class IdleConnections:
    """The connections that have no request under way, and how many of them there may be.

    Args:
        most: How many. One more, and the oldest that never made a request is closed; without such a one, that which
            idles longest.
        header_timeout: Seconds that the header of a request may take to come.
    """

    def __init__(self, most: int, header_timeout: float = HEADER_TIMEOUT) -> None:
        self._most = most
        self.header_timeout = header_timeout
        # Dictionaries for their order: the first is the oldest.
        self._unused: dict[ConnectionProtocol, None] = {}
        self._kept: dict[ConnectionProtocol, None] = {}

    def add(self, connection: ConnectionProtocol) -> None:
        """Enters a connection that begins to idle, having made a request or not."""
        # Before the new one is in: it would be the only unused one where all others are kept, and nobody could come.
        if len(self._unused) + len(self._kept) >= self._most:
            oldest = next(iter(self._unused or self._kept))
            self.discard(oldest)
            oldest.transport.close()
        (self._kept if connection.used else self._unused)[connection] = None

    def discard(self, connection: ConnectionProtocol) -> None:
        """Takes out a connection that idles no longer, or is closed."""
        self._unused.pop(connection, None)
        self._kept.pop(connection, None)


class ConnectionProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, whose requests know their transport, and which keeps account of its idling.

    Args:
        config: uvicorn's configuration.
        server_state: What the server's connections share.
        idle: Those of them that idle.

    Attributes:
        used: Whether a request has come over it.
    """

    def __init__(self, config: Config, server_state: ServerState, idle: IdleConnections) -> None:
        super().__init__(config=config, server_state=server_state, app_state={})
        self.used = False
        self._idle = idle
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Remembers the transport where uvicorn copies each request's `state` from."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, _TRANSPORT: transport}
        self._idle.add(self)
        self._expect_header()

    def data_received(self, data: bytes) -> None:
        """Takes what came, and sees to it that a header which began comes to its end."""
        super().data_received(data)
        if self._under_way:
            self.used = True
            self._idle.discard(self)
            self._expect_no_header()
        elif self.conn.their_state is h11.IDLE:
            self._expect_header()

    def on_response_complete(self) -> None:
        """Begins to idle, unless the next request is there already."""
        super().on_response_complete()
        if not self._under_way and not self.transport.is_closing():
            self._idle.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._idle.discard(self)
        self._expect_no_header()
        super().connection_lost(exc)

    @property
    def _under_way(self) -> bool:
        """Whether a request has come that is not answered yet."""
        return self.conn.our_state in (h11.SEND_RESPONSE, h11.SEND_BODY)

    def _expect_header(self) -> None:
        # Not anew with each byte, or one a second would hold the connection for ever.
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._idle.header_timeout, self.transport.close)

    def _expect_no_header(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def transport_of(scope: Scope) -> asyncio.Transport:
    """Gives the transport that a request came over."""
    return cast(asyncio.Transport, scope["state"][_TRANSPORT])


def reset(transport: asyncio.Transport) -> None:
    """Breaks a connection off with a TCP RST; what was still to be sent is lost."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
