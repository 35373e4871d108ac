"""HTTPS in front of an embedded server, so that it is reached by the names that E2B's cloud has.

E2B's own tests ask for `https://<port>-<sandbox id>.<domain>`, as on the cloud: by HTTPS, at the usual port, under
names that a wildcard entry of the DNS would have. The embedded server speaks plain HTTP at a port of its own. What
stands before a server of E2B's anyway, stands here: something that ends TLS. And since no DNS can be asked for
`*.localhost`, it is found as an HTTP proxy: each `CONNECT <name>.localhost:443` leads to the server, under a
certificate for that very name (`HttpsFront.environment` has all that a client must know).

Bytes pass as they are, and a connection that the server breaks off (as it does when a sandbox is killed) is broken
off to the client too: a clean end would be another thing to the SDKs.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

_CONNECT = re.compile(rb"CONNECT (?:[a-z0-9-]+\.)?localhost:443 HTTP/1\.[01]\r\n")
_CHUNK = 64 * 1024


class HttpsFront:
    """The front, while it is entered.

    Args:
        port: The embedded server's TCP port on 127.0.0.1.
        directory: Where the certificate of its authority is written.
    """

    def __init__(self, port: int, directory: Path) -> None:
        self._port = port
        self._authority = trustme.CA()
        self._authority_file = directory / "authority.pem"
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Starts it."""
        self._authority.cert_pem.write_to_path(self._authority_file)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends it."""
        assert self._server is not None
        self._server.close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which the SDK, httpx and urllib find the server as they would find E2B's cloud."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return {
            "E2B_DOMAIN": "localhost",
            "HTTPS_PROXY": f"http://127.0.0.1:{port}",
            "NO_PROXY": "127.0.0.1",
            "SSL_CERT_FILE": str(self._authority_file),
        }

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection: socket.socket = writer.get_extra_info("socket")
        try:
            await self._let_in(reader, writer)
            upstream = await asyncio.open_connection("127.0.0.1", self._port)
            await _join((reader, writer), upstream)
        except ConnectionResetError:
            # SO_LINGER with no time to linger: what is closed then is reset (socket(7)).
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        except (asyncio.IncompleteReadError, ssl.SSLError, ConnectionError):
            pass  # a client that leaves in the middle of a handshake, or trusts nobody, needs no answer
        finally:
            writer.close()

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if _CONNECT.match(head) is None:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            raise ConnectionRefusedError
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sni_callback = self._choose
        await writer.start_tls(context)

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        """Gives a handshake the certificate of the name that it is for.

        One for `*.localhost` would be less work, but no client takes a wildcard directly below a top-level name.
        """
        name = name or "localhost"
        if name not in self._contexts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._authority.issue_cert(name).configure_cert(context)
            self._contexts[name] = context
        connection.context = self._contexts[name]


_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _join(client: _Streams, server: _Streams) -> None:
    """Carries bytes both ways until one side has said all, or is broken off."""
    pumps = [asyncio.create_task(_pump(client[0], server[1])), asyncio.create_task(_pump(server[0], client[1]))]
    try:
        done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in done:
            pump.result()
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        server[1].close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK):
        sink.write(data)
        await sink.drain()
