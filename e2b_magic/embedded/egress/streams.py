"""A connection's two directions: plain, or encrypted by TLS."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import struct
from contextlib import suppress
from typing import Protocol

# Bytes taken from a socket in one go; no more than that is held for either direction.
CHUNK = 64 * 1024
_IGNORING_EOF = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", ssl.Options(0))  # OpenSSL 3's


@functools.cache
def trusted_by_this_machine() -> ssl.SSLContext:
    """Gives what trusts whom this machine trusts: read once, for there are hundreds."""
    return ssl.create_default_context()


class Stream(Protocol):
    """A connection, in bytes."""

    async def receive(self, most: int) -> bytes:
        """Gives what came, up to so many bytes; none when the other side has said all.

        Raises:
            OSError: The connection broke.
        """

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Sends all of it.

        Raises:
            OSError: The connection broke.
        """

    async def finish(self) -> None:
        """Tells the other side that this one has said all, and may go on listening.

        Raises:
            OSError: The connection broke.
        """

    def close(self) -> None:
        """Closes it."""

    def abort(self) -> None:
        """Closes it with a reset, so that nobody takes what was cut off for whole."""


class Plain:
    """A socket's stream.

    Args:
        connection: The socket, which does not block.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()

    async def receive(self, most: int) -> bytes:
        """Gives what came."""
        return await self._loop.sock_recv(self._connection, most)

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Sends all of it."""
        await self._loop.sock_sendall(self._connection, data)

    async def finish(self) -> None:
        """Shuts the way there."""
        self._connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes it."""
        self._connection.close()

    def abort(self) -> None:
        """Closes it with a reset."""
        with suppress(OSError):
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


class Encrypted:
    """TLS over a stream.

    asyncio's own transports cannot say over TLS that one side has said all and still listens, which a tunnel must be
    able to pass on. One task may receive while another sends.

    Args:
        below: The stream that carries it.
        context: Whom to trust, or what to be trusted by.
        name: On the client's side: whose certificate it must be; also told to the server, where it is a name. None on
            the server's.
        came: What has come already.
    """

    def __init__(self, below: Stream, context: ssl.SSLContext, name: str | None = None, *, came: bytes = b"") -> None:
        self._below = below
        # Python 3.11 takes an end without TLS's goodbye for a whole one, where OpenSSL lets it.
        context.options &= ~_IGNORING_EOF
        self._come, self._to_go = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._come, self._to_go, server_side=name is None, server_hostname=name)
        self._going = asyncio.Lock()
        self._kept = b""
        self._come.write(came)

    async def begin(self) -> None:
        """Agrees with the other side on keys; a client sees whose certificate the server has.

        Raises:
            ssl.SSLError: It is not whose it must be, or speaks no TLS.
            OSError: The connection broke.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._fill()
            except ssl.SSLError:
                with suppress(OSError):  # why, as TLS tells it
                    await self._flush()
                raise
            else:
                await self._flush()
                return

    async def _flush(self) -> None:
        async with self._going:
            while data := self._to_go.read():
                await self._below.send(data)

    async def _fill(self) -> None:
        # An answer to what came last (a new key, an alert); whoever is sending takes it along.
        if self._to_go.pending and not self._going.locked():
            await self._flush()
        if data := await self._below.receive(CHUNK):
            self._come.write(data)
        else:
            self._come.write_eof()

    def _decrypted(self, most: int) -> bytes:
        try:
            return self._tls.read(most)
        except ssl.SSLZeroReturnError:  # once this side has said all, too
            return b""

    async def receive(self, most: int) -> bytes:
        """Gives what came; a connection that ends without TLS's own goodbye is a broken one."""
        if self._kept:
            data, self._kept = self._kept[:most], self._kept[most:]
            return data
        while True:
            try:
                return self._decrypted(most)
            except ssl.SSLWantReadError:
                await self._fill()

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Sends all of it."""
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]
        await self._flush()

    async def finish(self) -> None:
        """Says goodbye, as TLS does, and goes on listening."""
        # `unwrap` looks for the other side's goodbye too, and would stumble over what it says before that.
        with suppress(ssl.SSLWantReadError):
            while data := self._decrypted(CHUNK):
                self._kept += data
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        await self._flush()

    def close(self) -> None:
        """Closes it."""
        self._below.close()

    def abort(self) -> None:
        """Closes it with a reset."""
        self._below.abort()
