"""One request to a server inside a sandbox and its response, over a connection of its own."""

from __future__ import annotations

from collections.abc import Iterable

import h11
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from e2b_magic.embedded.server.connections import Streams

_CHUNK = 64 * 1024
# What concerns one connection and not the message (RFC 9110, 7.6.1), and what opens the sandbox to whoever has it.
_HOP_HEADERS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"})
_PRIVATE_HEADERS = frozenset({b"e2b-traffic-access-token", b"x-access-token", b"x-api-key"})
# HTTP knows five classes; uvicorn, and most clients, know no more.
_HIGHEST_STATUS = 599

Header = tuple[bytes, bytes]


def _values(headers: Iterable[Header], name: bytes) -> list[bytes]:
    """Gives the members of a header that is a list, in lower case."""
    lines = [value for own, value in headers if own.lower() == name]
    return [member.strip().lower() for line in lines for member in line.split(b",")]


def _passed_on(headers: list[Header], without: frozenset[bytes] = frozenset()) -> list[Header]:
    """Gives a message's headers without those that are about its connection, the ones it names itself included."""
    kept_back = _HOP_HEADERS.union(without, _values(headers, b"connection")) - {b"host", b"content-length"}
    return [(name, value) for name, value in headers if name.lower() not in kept_back]


def _upgrade(headers: list[Header]) -> list[Header]:
    """Gives the headers by which a client asks for another protocol; none where it does not."""
    wanted = [(name, value) for name, value in headers if name.lower() == b"upgrade"]
    return [(b"connection", b"upgrade"), *wanted] if wanted and b"upgrade" in _values(headers, b"connection") else []


def _as_written(name: bytes) -> bytes:
    """Gives a header's name as E2B's proxy writes it, and most clients: programs compare it letter by letter.

    Its own letters are lost by then: ASGI has names in lower case.
    """
    return b"-".join(word.capitalize() for word in name.split(b"-"))


class Exchange:
    """One request and its response.

    Args:
        inside: The connection to the server.
        host: What the server is told as `Host`; None for what the client named.
    """

    def __init__(self, inside: Streams, host: str | None) -> None:
        self._reader, self._writer = inside
        self._host = host
        self._http = h11.Connection(h11.CLIENT)

    async def _send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()

    def _headers(self, given: list[Header]) -> list[Header]:
        headers = _passed_on(given, _PRIVATE_HEADERS)
        if _values(headers, b"transfer-encoding"):
            # It decides where the body ends; a length beside it is a way to make two servers disagree (RFC 9112, 6.1).
            headers = [(name, value) for name, value in headers if name != b"content-length"]
        if self._host is not None:
            headers = [(b"host", self._host.encode()), *[header for header in headers if header[0] != b"host"]]
        headers += _upgrade(given) or [(b"connection", b"close")]
        return [(_as_written(name), value) for name, value in headers]

    async def send_request(self, scope: Scope, receive: Receive) -> None:
        """Sends the request on, its body as it comes, and then waits for the client to leave.

        Raises:
            ClientDisconnect: It left.
            ConnectionError: The server inside left.
        """
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        await self._send(h11.Request(method=scope["method"], target=target, headers=self._headers(scope["headers"])))
        async for chunk in Request(scope, receive).stream():
            if chunk:
                await self._send(h11.Data(data=chunk))
        await self._send(h11.EndOfMessage())
        while (await receive())["type"] != "http.disconnect":
            pass
        raise ClientDisconnect

    async def _next(self) -> h11.Event:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]  # PAUSED comes to servers only
            self._http.receive_data(await self._reader.read(_CHUNK))

    async def send_response(self, send: Send) -> bytes | None:
        """Sends the response back, its body as it comes.

        Returns:
            None; or, when the server agrees to another protocol, all that it has said so far, of which nothing is
            sent yet.

        Raises:
            h11.RemoteProtocolError: It is none.
        """
        event = await self._next()
        while isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                return _head(event) + self._http.trailing_data[0]
            event = await self._next()
        if not isinstance(event, h11.Response) or event.status_code > _HIGHEST_STATUS:
            raise h11.RemoteProtocolError("no response")
        # uvicorn frames the body by itself, in chunks where the length is not known.
        headers = _passed_on(event.headers.raw_items(), frozenset({b"transfer-encoding"}))
        await send({"type": "http.response.start", "status": event.status_code, "headers": headers})
        while isinstance(event := await self._next(), h11.Data):
            await send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return None


def _head(response: h11.InformationalResponse) -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (response.status_code, bytes(response.reason) or b"Switching Protocols")]
    lines += [b"%s: %s" % header for header in response.headers.raw_items()]
    return b"\r\n".join(lines) + b"\r\n\r\n"
