"""HTTP to what a sandbox serves on a port of its own, and whatever HTTP is upgraded to.

The connection is dialled inside the sandbox, so that only what listens there can be reached; request and response
are passed on as they stream. When the server inside agrees to another protocol (101), the two connections are joined
and bytes pass as they are. So a WebSocket keeps its subprotocol, its extensions and its pings, and any other protocol
works as well; to take a WebSocket's frames apart and put them together again, as ASGI has it, would lose these.
"""

from __future__ import annotations

import asyncio
import ssl

import h11
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from e2b_magic.embedded.egress.proxy import PORT as PROXY_PORT
from e2b_magic.embedded.sandbox.outward import Connection
from e2b_magic.embedded.sandbox.sandbox import AgentError
from e2b_magic.embedded.server.connections import Streams, hand_over
from e2b_magic.embedded.server.exchange import Exchange
from e2b_magic.embedded.server.live import LiveSandbox
from e2b_magic.embedded.server.protocol_errors import ProtocolError, port_error, port_not_open

_CHUNK = 64 * 1024
_HANDSHAKE_SECONDS = 15.0


async def forward(sandbox: LiveSandbox, port: int, scope: Scope, receive: Receive, send: Send) -> None:
    """Passes a request on to a port of a sandbox, and the response back.

    Raises:
        ProtocolError: Nothing listens on the port, or what does speaks no HTTP.
    """
    if port == PROXY_PORT:  # it is no server of the sandbox's, but leads back here
        raise port_not_open(sandbox.id, port)
    try:
        connection = await sandbox.contained.connect(port)
    except AgentError as error:
        raise port_error(error, sandbox.id, port) from error
    try:
        inside = await _opened(connection, https=sandbox.record.is_https(port))
    except OSError as error:
        raise _unreadable(sandbox, port, "HTTPS") from error
    try:
        exchange = Exchange(inside, sandbox.record.request_host(port))
        agreement = await _answered(exchange, scope, receive, send)
        if agreement is not None:
            client = hand_over(scope)
            client[1].write(agreement)
            await _join(client, inside)
    except (h11.RemoteProtocolError, ConnectionError, ssl.SSLError) as error:
        raise _unreadable(sandbox, port, "HTTP") from error
    finally:
        inside[1].close()


async def _opened(connection: Connection, *, https: bool) -> Streams:
    if not https:
        return await asyncio.open_connection(sock=connection)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # As at E2B: a server inside has a certificate of its own making, and there is nobody between here and there.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return await asyncio.open_connection(
        sock=connection, ssl=context, server_hostname="localhost", ssl_handshake_timeout=_HANDSHAKE_SECONDS
    )


def _unreadable(sandbox: LiveSandbox, port: int, protocol: str) -> ProtocolError:
    return ProtocolError(502, f"what listens on port {port} did not answer in {protocol}", sandboxId=sandbox.id)


async def _answered(exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> bytes | None:
    """Passes request and response on, both at once; gives the head of the response by which the protocol changes."""
    sending = asyncio.create_task(exchange.send_request(scope, receive))
    responding = asyncio.create_task(exchange.send_response(send))
    try:
        await asyncio.wait({sending, responding}, return_when=asyncio.FIRST_COMPLETED)
        # A server may answer before it has read the whole request, and then closes what is still being sent.
        return None if _client_left(sending) else await responding
    finally:
        for task in (sending, responding):
            task.cancel()
        await asyncio.wait({sending, responding})
        _client_left(sending)


def _client_left(sending: asyncio.Task[None]) -> bool:
    """Whether the request ended since its client left; any other end of it shows in the response."""
    return sending.done() and not sending.cancelled() and isinstance(sending.exception(), ClientDisconnect)


async def _join(one: Streams, other: Streams) -> None:
    """Carries bytes both ways until both sides have said all, or one is broken off."""
    pumps = [asyncio.create_task(_pump(one[0], other[1])), asyncio.create_task(_pump(other[0], one[1]))]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for pump in pumps:
            pump.cancel()
        outcomes = await asyncio.gather(*pumps, return_exceptions=True)
        one[1].close()
    for outcome in outcomes:
        # A connection that broke off is how most of them end; not all that says so is a `ConnectionError` (ENOTCONN).
        if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
            raise outcome


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK):
        sink.write(data)
        await sink.drain()
    # One side may have said all and still listen.
    if sink.can_write_eof():
        sink.write_eof()
    else:  # asyncio's TLS cannot say so, and one that is told nothing would wait for ever
        sink.close()
