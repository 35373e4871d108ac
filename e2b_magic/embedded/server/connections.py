"""The TCP connections of the HTTP server: how many there may be, how long each may idle, how one is broken off.

A client whose sandbox is killed must see its connection reset: E2B's SDKs take a clean end of a stream, or an error
sent in it, for something else than the sandbox's death. ASGI knows no such thing, so `ConnectionProtocol` puts itself
into the scope of each request, where `transport_of` finds its transport and `reset` breaks it off. In the same way
`hand_over` takes the connection out of HTTP, for a request that asked for another protocol.

Whoever reaches the port can open connections without any token, and each takes a descriptor that sandboxes need. So
a request's header has a deadline, and `ConnectionBounds` bounds how many connections stand open: above all those with
no request under way, of which the oldest yields to a new one. What has a request under way is never closed for it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import cast

import h11
from starlette.requests import ClientDisconnect
from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

# Seconds that a request's header may take to come; on the loopback interface it comes at once.
HEADER_TIMEOUT = 20.0
_CONNECTION = "connection"
# Lingering for no time at all makes close() send RST instead of FIN (socket(7), SO_LINGER).
_NO_LINGER = struct.pack("ii", 1, 0)
_BODY = json.dumps({"code": 503, "message": "the embedded server has as many connections as it may have"}).encode()
_FULL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\nretry-after: 1\r\n"
_FULL += b"content-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


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
        self._open: set[ConnectionProtocol] = set()
        # Dictionaries for their order: the first is the oldest.
        self._unused: dict[ConnectionProtocol, None] = {}
        self._kept: dict[ConnectionProtocol, None] = {}

    def enter(self, connection: ConnectionProtocol) -> bool:
        """Enters a connection that was opened, and says whether there is room for it."""
        if len(self._open) >= self._most and not self._close_oldest():
            return False
        self._open.add(connection)
        return True

    def leave(self, connection: ConnectionProtocol) -> None:
        """Takes out a connection that is closed."""
        self.busy(connection)
        self._open.discard(connection)

    def idle(self, connection: ConnectionProtocol) -> None:
        """Notes that a connection begins to idle, having made a request or not."""
        # Before the new one is in: it would be the only unused one where all others are kept, and nobody could come.
        if len(self._unused) + len(self._kept) >= self._most_idle:
            self._close_oldest()
        (self._kept if connection.used else self._unused)[connection] = None

    def busy(self, connection: ConnectionProtocol) -> None:
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


class ConnectionProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, whose requests know their connection, and which keeps account of its idling.

    Args:
        config: uvicorn's configuration.
        server_state: What the server's connections share.
        bounds: How many of them there may be.

    Attributes:
        used: Whether a request has come over it.
    """

    def __init__(self, config: Config, server_state: ServerState, bounds: ConnectionBounds) -> None:
        super().__init__(config=config, server_state=server_state, app_state={})
        self.used = False
        self._bounds = bounds
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Puts the connection where uvicorn copies each request's `state` from."""
        if not self._bounds.enter(self):
            self.transport = transport
            transport.write(_FULL)
            transport.close()
            return
        super().connection_made(transport)
        self.app_state = {**self.app_state, _CONNECTION: self}
        self._bounds.idle(self)
        self._expect_header()

    def data_received(self, data: bytes) -> None:
        """Takes what came, and sees to it that a header which began comes to its end."""
        super().data_received(data)
        if self._under_way:
            self.used = True
            self._bounds.busy(self)
            self._expect_no_header()
        elif self.conn.their_state is h11.IDLE:
            self._expect_header()

    def on_response_complete(self) -> None:
        """Begins to idle, unless the next request is there already."""
        super().on_response_complete()
        if not self._under_way and not self.transport.is_closing():
            self._bounds.idle(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._bounds.leave(self)
        self._expect_no_header()
        super().connection_lost(exc)

    def hand_over(self) -> Streams:
        """Takes the connection out of HTTP; gives what comes over it from now on, and where to write to.

        Raises:
            ClientDisconnect: The client has left.
        """
        if self.transport.is_closing():
            raise ClientDisconnect
        self.connections.discard(self)
        # uvicorn is not to miss the end of an answer that it never sees.
        self.cycle.disconnected = True
        reader = asyncio.StreamReader()
        protocol = _HandedOver(reader, self._bounds, self)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        early, ended = self.conn.trailing_data
        if early:
            reader.feed_data(early)
        if ended:
            reader.feed_eof()
        # uvicorn has stopped reading where the request ended.
        self.transport.resume_reading()
        return reader, asyncio.StreamWriter(self.transport, protocol, reader, self.loop)

    def _should_upgrade(self) -> bool:
        """Leaves it to the application; uvicorn would log a warning for each request that asks for it."""
        return False

    @property
    def _under_way(self) -> bool:
        """Whether a request has come that is not answered yet."""
        return self.conn.our_state in (h11.SEND_RESPONSE, h11.SEND_BODY)

    def _expect_header(self) -> None:
        # Not anew with each byte, or one a second would hold the connection for ever.
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._bounds.header_timeout, self.transport.close)

    def _expect_no_header(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _HandedOver(asyncio.StreamReaderProtocol):
    """The protocol of a connection that is no longer HTTP's, and still counts."""

    def __init__(self, reader: asyncio.StreamReader, bounds: ConnectionBounds, connection: ConnectionProtocol) -> None:
        super().__init__(reader)
        self._bounds = bounds
        self._connection = connection

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._bounds.leave(self._connection)
        super().connection_lost(exc)


def _connection_of(scope: Scope) -> ConnectionProtocol:
    return cast(ConnectionProtocol, scope["state"][_CONNECTION])


def transport_of(scope: Scope) -> asyncio.Transport:
    """Gives the transport that a request came over."""
    return _connection_of(scope).transport


def hand_over(scope: Scope) -> Streams:
    """Takes the connection that a request came over out of HTTP (see `ConnectionProtocol.hand_over`)."""
    return _connection_of(scope).hand_over()


def reset(transport: asyncio.Transport) -> None:
    """Breaks a connection off with a TCP RST; what was still to be sent is lost."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
