"""One plain HTTP request, made in a client's name: its framing is understood, so that nothing rides along.

To pass the bytes of the whole connection on would send a client's next request, which may be to another host, to this
one. So each connection serves one request; a client that wants more makes another.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import h11

from e2b_magic.embedded.egress.refusals import Refusal
from e2b_magic.embedded.egress.relay import Pulse, supervise
from e2b_magic.embedded.egress.request import Request
from e2b_magic.embedded.egress.streams import CHUNK, Stream
from e2b_magic.embedded.egress.transforms import Header, Transform

# What concerns one connection and not the message (RFC 9110, 7.6.1), and what is meant for a proxy alone.
_HOP_HEADERS = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
    }
)

# What asks a server to send the request back as it came (RFC 9110, 9.3.8): TRACE, and what Microsoft's called it.
_ECHOING = frozenset({b"TRACE", b"TRACK"})

# Bytes that the head of a response may have.
_RESPONSE_HEAD = 64 * 1024


def _passed_on(headers: Sequence[Header]) -> list[Header]:
    """Gives the headers for the next hop, without those that `Connection` names."""
    named = [value for name, value in headers if name.lower() == b"connection"]
    left_out = {*_HOP_HEADERS} | {word.strip().lower() for value in named for word in value.split(b",")}
    # The framing is never a connection's own affair, whatever `Connection` says of it.
    left_out -= {b"content-length", b"transfer-encoding", b"host"}
    if any(name.lower() == b"transfer-encoding" for name, _ in headers):
        # It decides where the body ends; a length beside it is a way to make two servers disagree (RFC 9112, 6.1).
        left_out.add(b"content-length")
    return [(name, value) for name, value in headers if name.lower() not in left_out]


@dataclass(frozen=True, slots=True)
class Message:
    """A plain request that was read.

    Attributes:
        head: Its head.
        client: The state of its connection, which reads the body.
        host: Whom it is for, as the origin is told: what the rules were checked on.
    """

    head: h11.Request
    client: h11.Connection
    host: bytes


def read_message(request: Request) -> Message:
    """Reads a plain request as HTTP.

    Raises:
        Refusal: 400: it is none.
    """
    client = h11.Connection(h11.SERVER, max_incomplete_event_size=len(request.head) + CHUNK)
    try:
        client.receive_data(request.head)
        message = client.next_event()
    except h11.RemoteProtocolError as error:
        raise Refusal(400, f"the request is not HTTP: {error}") from error
    if not isinstance(message, h11.Request):
        raise Refusal(400, "the request is not HTTP")
    if request.rest:  # nothing would mean that the client has said all
        client.receive_data(request.rest)
    return Message(message, client, request.host)


class Exchange:
    """A request to an origin, and its response.

    Args:
        message: The request.
        inside: The client's stream.
        outside: The origin's.
        pulse: What notes that something moved.
        transform: What is done to the request's headers; None for nothing.
    """

    def __init__(
        self, message: Message, inside: Stream, outside: Stream, pulse: Pulse, transform: Transform | None = None
    ) -> None:
        self._message = message
        self._client = message.client
        self._origin = h11.Connection(h11.CLIENT, max_incomplete_event_size=_RESPONSE_HEAD)
        self._inside = inside
        self._outside = outside
        self._pulse = pulse
        self._transform = transform

    @property
    def answered(self) -> bool:
        """Whether the client has got something of a response."""
        return self._client.our_state is not h11.SEND_RESPONSE and self._client.our_state is not h11.IDLE

    async def run(self) -> None:
        """Sends the request, its body as it comes, and the response back, as it comes.

        Raises:
            Refusal: 405: the response would tell what is put into the request.
            OSError: One of the connections broke.
            TimeoutError: Nothing moved for too long.
            h11.RemoteProtocolError: One of them is not HTTP.
        """
        if self._transform is not None and self._message.head.method.upper() in _ECHOING:
            method = self._message.head.method.decode("ascii")
            raise Refusal(405, f"{method} would tell the headers that the sandbox's rules put into the request")
        await supervise(self._pulse, [self._respond(), self._ask()])

    async def _send(self, to: h11.Connection, by: Stream, event: h11.Event) -> None:
        if data := to.send(event):
            await by.send(data)
            self._pulse.beat()

    async def _next(self, side: h11.Connection, of: Stream) -> h11.Event | type[h11.PAUSED]:
        while (event := side.next_event()) is h11.NEED_DATA:
            side.receive_data(await of.receive(CHUNK))
            self._pulse.beat()
        return event  # type: ignore[return-value]  # mypy does not follow `is not NEED_DATA`

    async def _ask(self) -> None:
        head = self._message.head
        kept = [header for header in _passed_on(head.headers.raw_items()) if header[0].lower() != b"host"]
        headers = [(b"Host", self._message.host), *kept, (b"Connection", b"close")]
        if self._transform is not None:
            headers = self._transform.applied(headers)
        wanted = await self._tell(h11.Request(method=head.method, target=head.target, headers=headers))
        while wanted and isinstance(event := await self._next(self._client, self._inside), h11.Data):
            wanted = await self._tell(h11.Data(data=event.data))
        if wanted and isinstance(event, h11.EndOfMessage):
            await self._tell(h11.EndOfMessage(headers=event.headers))

    async def _tell(self, event: h11.Event) -> bool:
        """Sends something to the origin, and says whether it took it.

        An origin may answer and leave before it has read all: its answer, and not this, then tells how it went.
        """
        try:
            await self._send(self._origin, self._outside, event)
        except OSError:
            return False
        return True

    async def _respond(self) -> None:
        event = await self._next(self._origin, self._outside)
        while isinstance(event, h11.InformationalResponse):
            if event.status_code != 101:
                await self._send(self._client, self._inside, event)
            event = await self._next(self._origin, self._outside)
        if not isinstance(event, h11.Response):
            raise h11.RemoteProtocolError("the origin sent no response")
        headers = [*_passed_on(event.headers.raw_items()), (b"Connection", b"close")]
        head = h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
        await self._send(self._client, self._inside, head)
        while isinstance(event := await self._next(self._origin, self._outside), h11.Data):
            await self._send(self._client, self._inside, h11.Data(data=event.data))
        if isinstance(event, h11.EndOfMessage):
            await self._send(self._client, self._inside, h11.EndOfMessage(headers=event.headers))
        with suppress(OSError):  # a client of HTTP/1.0 waits for this; one that has left does not
            await self._inside.finish()
