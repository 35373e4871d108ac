"""The TCP connections of the HTTP server: how a request finds its own, breaks it off, or takes it out of HTTP.

A client whose sandbox is killed must see its connection reset: E2B's SDKs take a clean end of a stream, or an error
sent in it, for something else than the sandbox's death. ASGI knows no such thing, so `ConnectionProtocol` puts itself
into the scope of each request, where `transport_of` finds its transport and `reset` breaks it off. In the same way
`hand_over` takes the connection out of HTTP, for a request that asked for another protocol, and `take_body` for as long
as the body of an upload lasts.

A request's header has a deadline; how many connections may stand open, and which yields to a new one, is
`connection_bounds`' to say.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import cast
from urllib.parse import unquote

import h11
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from e2b_magic.embedded.server.connection_bounds import ConnectionBounds
from e2b_magic.embedded.server.framing import framing_of
from e2b_magic.embedded.server.incoming import IncomingBody

_CONNECTION = "connection"
# The one route whose bodies may be large.
_UPLOADS = "/files"
# Lingering for no time at all makes close() send RST instead of FIN (socket(7), SO_LINGER).
_NO_LINGER = struct.pack("ii", 1, 0)
_BODY = json.dumps({"code": 503, "message": "the embedded server has as many connections as it may have"}).encode()
_FULL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\nretry-after: 1\r\n"
_FULL += b"content-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Parser(h11.Connection):
    """A parser that leaves an upload's body alone until it is clear who reads it.

    Attributes:
        waiting: Whether there is such a body.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER)
        self.waiting = False

    def next_event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        """Gives what came next, but for that body."""
        if self.waiting:
            return h11.NEED_DATA
        event = super().next_event()
        self.waiting = isinstance(event, h11.Request) and _is_upload(event)
        return event


def _is_upload(request: h11.Request) -> bool:
    # As uvicorn makes the scope's path of it.
    return request.method == b"POST" and unquote(request.target.partition(b"?")[0].decode("ascii")) == _UPLOADS


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
        self.conn: _Parser = _Parser()
        self.used = False
        self._body: IncomingBody | None = None
        self._rest = b""
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

    def handle_events(self) -> None:
        """Takes what the parser makes of what came; of an upload, nothing more than its header."""
        super().handle_events()
        if self.conn.waiting:
            self.flow.pause_reading()

    def on_response_complete(self) -> None:
        """Begins to idle, unless the next request is there already."""
        unread = self.conn.waiting
        super().on_response_complete()
        if self._body is not None:
            self._after_body(self._body)
        elif unread:
            self.read_on()
        if not self._under_way and not self.transport.is_closing():
            self._bounds.idle(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._bounds.leave(self)
        self._expect_no_header()
        super().connection_lost(exc)

    @property
    def body_waits(self) -> bool:
        """Whether the body of the request that is under way is not read yet, by anybody."""
        return self.conn.waiting

    def read_on(self) -> None:
        """Reads a body that waits, HTTP's way."""
        if self.conn.waiting:
            self.conn.waiting = False
            self.flow.resume_reading()
            self.handle_events()

    def take_body(self) -> IncomingBody:
        """Takes the body that waits out of HTTP, which it is given back to when that is over.

        Raises:
            ClientDisconnect: The client has left.
            RuntimeError: No body waits.
        """
        if self.transport.is_closing():
            raise ClientDisconnect
        if not self.conn.waiting or self._body is not None:
            raise RuntimeError("no body waits to be taken")
        if self.cycle.waiting_for_100_continue:
            self.cycle.waiting_for_100_continue = False
            self.transport.write(self.conn.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        early, _ = self.conn.trailing_data
        self._body = IncomingBody(self, framing_of(self.headers), early)
        self.transport.set_protocol(self._body)
        self.flow.resume_reading()
        self._body.begin()
        return self._body

    def pause_body(self) -> None:
        """Lets the client wait with the rest of its body."""
        self.flow.pause_reading()

    def resume_body(self) -> None:
        """Reads on."""
        self.flow.resume_reading()

    def body_over(self, rest: bytes) -> None:
        """Takes the connection back; what came after the body waits for the answer, as HTTP has it."""
        self.transport.set_protocol(self)
        self.flow.pause_reading()
        self._rest = rest
        if self._body is not None and not self._under_way:
            self._after_body(self._body)

    def body_lost(self, error: Exception | None) -> None:
        """Learns that the client has left in the middle of a body."""
        self.connection_lost(error)

    def _after_body(self, body: IncomingBody) -> None:
        """Goes on with the next request, the answer to this one being out."""
        if self.transport.is_closing():
            return
        if body.broken:
            self.transport.close()
        elif body.complete:
            # Of a body that it has not seen, the parser still expects every byte.
            self.conn, self._body = _Parser(), None
            rest, self._rest = self._rest, b""
            self.flow.resume_reading()
            if rest:
                self.data_received(rest)
        else:
            body.discard()

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


def reading_on(application: ASGIApp) -> ASGIApp:
    """Gives an application that may ask for any request's body by `receive`, and for an upload's by `take_body`."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        connection = _connection_of(scope)
        cycle = connection.cycle

        async def receive_on() -> Message:
            if connection.cycle is cycle:  # else the body that waits is the next request's
                connection.read_on()
            return await receive()

        await application(scope, receive_on if connection.body_waits else receive, send)

    return answer


def take_body(scope: Scope) -> IncomingBody:
    """Gives the body of an upload as it comes, in place of `receive` (see `ConnectionProtocol.take_body`)."""
    return _connection_of(scope).take_body()


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
