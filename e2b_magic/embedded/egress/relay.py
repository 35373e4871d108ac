"""Bytes on their way between two sockets: as fast as the slower side takes them, held by nobody in between."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

# Bytes taken from a socket in one go; no more than that is held for either direction.
CHUNK = 64 * 1024
# How long, and for how much, what a client still sends is read when it has been answered for good.
_FAREWELL_SECONDS = 2.0
_FAREWELL_BYTES = 1024 * 1024


class Pulse:
    """When something last moved.

    Args:
        idle: The seconds without a move after which it is over.
    """

    def __init__(self, idle: float) -> None:
        self._idle = idle
        self._last = time.monotonic()

    def beat(self) -> None:
        """Notes a move."""
        self._last = time.monotonic()

    @property
    def left(self) -> float:
        """The seconds left."""
        return self._last + self._idle - time.monotonic()


async def supervise(pulse: Pulse, work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Runs work until all of it is done; when one part fails, ends the others.

    Args:
        pulse: What ends it all when nothing moves.
        work: The parts.

    Raises:
        TimeoutError: Nothing moved for too long.
    """
    tasks = [asyncio.ensure_future(part) for part in work]
    try:
        while waited := [task for task in tasks if not task.done()]:
            await asyncio.wait(waited, timeout=pulse.left, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            if pulse.left <= 0:
                raise TimeoutError
    finally:
        for task in tasks:
            task.cancel()
        # Whatever they met while they were ended is of no interest any more.
        await asyncio.gather(*tasks, return_exceptions=True)


async def relay(inside: socket.socket, outside: socket.socket, pulse: Pulse) -> None:
    """Passes bytes on between two sockets until both sides have said all.

    A side that has said all is told on to the other, which may go on. Neither socket is closed here.

    Raises:
        OSError: One of the connections broke.
        TimeoutError: Nothing moved for too long.
    """
    await supervise(pulse, [_pass_on(inside, outside, pulse), _pass_on(outside, inside, pulse)])


async def _pass_on(source: socket.socket, target: socket.socket, pulse: Pulse) -> None:
    loop = asyncio.get_running_loop()
    while part := await loop.sock_recv(source, CHUNK):
        pulse.beat()
        try:
            await loop.sock_sendall(target, part)
        except OSError:
            return  # it takes no more: what it has said until then, the other way still brings
        pulse.beat()
        # Neither call waits while one side always has something and the other always has room.
        await asyncio.sleep(0)
    with suppress(OSError):  # it has left: then what it says shows it
        target.shutdown(socket.SHUT_WR)


def abort(connection: socket.socket) -> None:
    """Closes a connection with a reset, so that nobody takes what was cut off for whole."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


async def say_goodbye(connection: socket.socket) -> None:
    """Ends a connection whose client has been answered, and closes it.

    To close it while the client still sends would reset it, and the answer with it.
    """
    loop = asyncio.get_running_loop()
    left = _FAREWELL_BYTES
    try:
        connection.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_FAREWELL_SECONDS):
            while left > 0 and (part := await loop.sock_recv(connection, 65536)):
                left -= len(part)
    except (OSError, TimeoutError):
        pass
    finally:
        connection.close()
