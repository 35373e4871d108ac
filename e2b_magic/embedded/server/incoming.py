"""A large body on its way in: from a connection's socket into one of two buffers, while the other one is written.

ASGI's way is a copy of each piece for the parser, one out of it, one into what `receive` gathers and one out of that,
with a stop and a start of the reading for every 64 KiB. Here the kernel writes into the buffer that is handed on.
`connections` takes a connection out of HTTP for as long as that lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol

from starlette.requests import ClientDisconnect

from e2b_magic.embedded.server.framing import Framing, FramingError
from e2b_magic.embedded.server.protocol_errors import ProtocolError

# Of each of the two buffers, in bytes.
BUFFER = 1024 * 1024
# What is waited for before a buffer is handed on, unless the body ends: a hop to a thread for less is not worth it.
LEAST = BUFFER // 2


class Carrier(Protocol):
    """The connection that a body comes over."""

    def pause_body(self) -> None:
        """Lets the client wait."""

    def resume_body(self) -> None:
        """Reads on."""

    def body_over(self, rest: bytes) -> None:
        """Takes the connection back; `rest` came after the body."""

    def body_lost(self, error: Exception | None) -> None:
        """Learns that the client has left."""

    def pause_writing(self) -> None:
        """Learns that the client reads its answer too slowly."""

    def resume_writing(self) -> None:
        """Learns that it reads on."""


class IncomingBody(asyncio.BufferedProtocol):
    """A body, block by block.

    Args:
        carrier: What it comes over.
        framing: Where it ends.
        early: What has come of it already.
    """

    def __init__(self, carrier: Carrier, framing: Framing, early: bytes) -> None:
        self._carrier = carrier
        self._framing = framing
        self._loop = asyncio.get_running_loop()
        self._early = early
        self._filling = memoryview(bytearray(max(BUFFER, len(early))))
        self._filled = 0
        # Handed on last, and free again when the next block is asked for.
        self._lent: memoryview | None = None
        self._wanted = True
        self._failure: Exception | None = None
        self._woken: asyncio.Future[None] | None = None

    @property
    def complete(self) -> bool:
        """Whether all of it has come, wanted or not."""
        return self._framing.complete

    @property
    def broken(self) -> bool:
        """Whether the rest of it cannot be told from what follows."""
        return self._failure is not None

    async def blocks(self) -> AsyncGenerator[memoryview]:
        """Gives its content; each block is good until the next one is asked for.

        Raises:
            ClientDisconnect: The client left in the middle of it.
            ProtocolError: It is no body.
        """
        while True:
            await self._until_enough()
            if self._failure is not None:
                raise self._failure
            if not self._filled:
                return
            block = self._filling[: self._filled]
            self._filling, self._lent = self._lent or memoryview(bytearray(BUFFER)), self._filling
            self._filled = 0
            if not self.complete:
                self._carrier.resume_body()
            yield block

    async def _until_enough(self) -> None:
        while self._filled < LEAST and not self.complete and self._failure is None:
            self._woken = self._loop.create_future()
            await self._woken

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def discard(self) -> None:
        """Lets the rest come and be forgotten: the client, who has its answer, may read that only after sending all."""
        self._wanted = False
        self._filled = 0
        self._carrier.resume_body()

    def begin(self) -> None:
        """Takes over: first what has come already."""
        early, self._early = self._early, b""
        self._filling[: len(early)] = early
        self._received(len(early))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Gives where to put what comes next."""
        return self._filling[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Takes what was put there."""
        self._received(nbytes)

    def _received(self, count: int) -> None:
        data = self._filling[self._filled : self._filled + count]
        try:
            content, used = self._framing.unwrap(data)
        except FramingError as error:
            # What follows is no request: nobody can tell where one would begin.
            self._carrier.pause_body()
            self._fail(ProtocolError(400, f"the body cannot be read: {error}"))
            return
        rest = bytes(data[used:])
        self._filled += content if self._wanted else 0
        if self.complete:
            self._wake()
            self._carrier.body_over(rest)
        elif self._filled >= LEAST:
            self._wake()
            if self._filled == len(self._filling):
                self._carrier.pause_body()

    def _fail(self, failure: Exception) -> None:
        self._failure = self._failure or failure
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Learns that the client has left."""
        self._fail(ClientDisconnect())
        self._carrier.body_lost(exc)

    def pause_writing(self) -> None:
        """Tells whoever writes an answer that the client reads it too slowly."""
        self._carrier.pause_writing()

    def resume_writing(self) -> None:
        """Tells them that it goes on."""
        self._carrier.resume_writing()
