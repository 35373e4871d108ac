"""HTTP to what a sandbox serves on a port of its own.

The connection is dialled inside the sandbox, so that only what listens there can be reached; request and response
are passed on as they stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import h11
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from e2b_magic.embedded.sandbox.sandbox import AgentError
from e2b_magic.embedded.server.protocol_errors import ProtocolError, port_not_open
from e2b_magic.embedded.server.sandboxes import LiveSandbox

_CHUNK = 64 * 1024
# What concerns one connection and not the message (RFC 9110, 7.6.1), and what opens the sandbox to whoever has it.
_HOP_HEADERS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"})
_PRIVATE_HEADERS = frozenset({b"e2b-traffic-access-token", b"x-access-token", b"x-api-key"})

Header = tuple[bytes, bytes]


def _passed_on(headers: Iterable[Header], without: frozenset[bytes]) -> list[Header]:
    return [(name, value) for name, value in headers if name.lower() not in without]


class _Exchange:
    """One request to a port and its response, over a connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)

    async def _send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()

    async def send_request(self, scope: Scope, receive: Receive) -> None:
        """Sends the request on, its body as it comes, and then waits for the client to leave.

        Raises:
            ClientDisconnect: It left.
            ConnectionError: The server inside left.
        """
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        headers = [*_passed_on(scope["headers"], _HOP_HEADERS | _PRIVATE_HEADERS), (b"connection", b"close")]
        await self._send(h11.Request(method=scope["method"], target=target, headers=headers))
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

    async def send_response(self, send: Send) -> None:
        """Sends the response back, its body as it comes."""
        event = await self._next()
        while isinstance(event, h11.InformationalResponse):
            event = await self._next()
        if not isinstance(event, h11.Response):
            raise h11.RemoteProtocolError("no response")
        # uvicorn frames the body by itself, in chunks where the length is not known.
        headers = _passed_on(event.headers.raw_items(), _HOP_HEADERS | {b"transfer-encoding"})
        await send({"type": "http.response.start", "status": event.status_code, "headers": headers})
        while isinstance(event := await self._next(), h11.Data):
            await send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def forward(sandbox: LiveSandbox, port: int, scope: Scope, receive: Receive, send: Send) -> None:
    """Passes a request on to a port of a sandbox, and the response back.

    Raises:
        ProtocolError: Nothing listens on the port, or what does speaks no HTTP.
    """
    try:
        connection = await sandbox.contained.connect(port)
    except AgentError as error:
        raise port_not_open(sandbox.id, port) from error
    reader, writer = await asyncio.open_connection(sock=connection)
    exchange = _Exchange(reader, writer)
    sending = asyncio.create_task(exchange.send_request(scope, receive))
    responding = asyncio.create_task(exchange.send_response(send))
    try:
        await asyncio.wait({sending, responding}, return_when=asyncio.FIRST_COMPLETED)
        if not _client_left(sending):
            # A server may answer before it has read the whole request, and then closes what is still being sent.
            await responding
    except (h11.RemoteProtocolError, ConnectionError) as error:
        raise ProtocolError(502, f"what listens on port {port} did not answer in HTTP", sandboxId=sandbox.id) from error
    finally:
        for task in (sending, responding):
            task.cancel()
        await asyncio.wait({sending, responding})
        _client_left(sending)
        writer.close()


def _client_left(sending: asyncio.Task[None]) -> bool:
    """Whether the request ended since its client left; any other end of it shows in the response."""
    return sending.done() and not sending.cancelled() and isinstance(sending.exception(), ClientDisconnect)
