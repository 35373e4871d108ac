"""Bytes on their way between two streams: as fast as the slower side takes them, held by nobody in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

from e2b_magic.embedded.egress.streams import CHUNK, Stream

# How long what a client still sends is read when it has been answered for good. However much that is: what it has on
# its way already is several megabytes, before it looks for an answer.
_FAREWELL = 2.0


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


async def relay(inside: Stream, outside: Stream, pulse: Pulse) -> None:
    """Passes bytes on between two streams until both sides have said all.

    A side that has said all is told on to the other, which may go on. Neither stream is closed here.

    Raises:
        OSError: One of the connections broke.
        TimeoutError: Nothing moved for too long.
    """
    await supervise(pulse, [_pass_on(inside, outside, pulse), _pass_on(outside, inside, pulse)])


async def _pass_on(source: Stream, target: Stream, pulse: Pulse) -> None:
    while part := await source.receive(CHUNK):
        pulse.beat()
        try:
            await target.send(part)
        except OSError:
            return  # it takes no more: what it has said until then, the other way still brings
        pulse.beat()
        # Neither call waits while one side always has something and the other always has room.
        await asyncio.sleep(0)
    with suppress(OSError):  # it has left: then what it says shows it
        await target.finish()


async def say_goodbye(inside: Stream) -> None:
    """Ends a connection whose client has been answered, and closes it.

    To close it while the client still sends would reset it, and the answer with it.
    """
    try:
        await inside.finish()
        async with asyncio.timeout(_FAREWELL):
            # With a turn for the others each time: a client that always has something would let nobody else work.
            while await inside.receive(CHUNK):  # noqa: ASYNC110  nothing is waited for
                await asyncio.sleep(0)
    except (OSError, TimeoutError):
        pass
    finally:
        inside.close()
