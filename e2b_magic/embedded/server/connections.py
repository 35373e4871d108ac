"""The TCP connections of the HTTP server, and how to break them off.

A client whose sandbox is killed must see its connection reset: E2B's SDKs take a clean end of a stream, or an error
sent in it, for something else than the sandbox's death. ASGI knows no such thing, so `ConnectionProtocol` puts each
request's transport into its scope, where `transport_of` finds it and `reset` breaks it off.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

_TRANSPORT = "transport"
# Lingering for no time at all makes close() send RST instead of FIN (socket(7), SO_LINGER).
_NO_LINGER = struct.pack("ii", 1, 0)


class ConnectionProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, whose requests know their transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Remembers the transport where uvicorn copies each request's `state` from."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, _TRANSPORT: transport}


def transport_of(scope: Scope) -> asyncio.Transport:
    """Gives the transport that a request came over."""
    return cast(asyncio.Transport, scope["state"][_TRANSPORT])


def reset(transport: asyncio.Transport) -> None:
    """Breaks a connection off with a TCP RST; what was still to be sent is lost."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
