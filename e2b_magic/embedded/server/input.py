"""The standard input of a process, as the server feeds it."""

from __future__ import annotations

import asyncio
import os

from connectrpc.code import Code
from connectrpc.errors import ConnectError


class Input:
    """A process's standard input: writes go through whole and in order, and wait while the pipe is full."""

    def __init__(self, descriptor: int | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._turn = asyncio.Lock()
        self._writable: asyncio.Future[None] | None = None

    async def write(self, data: bytes) -> None:
        """Writes all of it.

        Raises:
            ConnectError: There is no input, or nobody reads it any more.
        """
        async with self._turn:
            rest = memoryview(data)
            while rest:
                rest = rest[await self._write_some(rest) :]

    async def _write_some(self, data: memoryview) -> int:
        if self._descriptor is None:
            raise ConnectError(Code.INTERNAL, "error writing to stdin: stdin not enabled or closed")
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            await self._wait(self._descriptor)
            return 0
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ConnectError(Code.INTERNAL, "error writing to stdin: the process reads no more") from error

    async def _wait(self, descriptor: int) -> None:
        writable = self._writable = self._loop.create_future()

        def ready() -> None:
            if not writable.done():
                writable.set_result(None)

        self._loop.add_writer(descriptor, ready)
        try:
            await writable
        finally:
            self._writable = None
            # Once closed, the number may be another descriptor's, whose writer is not ours to remove.
            if self._descriptor == descriptor:
                self._loop.remove_writer(descriptor)

    def close(self) -> int | None:
        """Gives the descriptor to be closed, the first time; a write that waits ends with an error."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None and self._writable is not None:
            self._loop.remove_writer(descriptor)
            if not self._writable.done():
                self._writable.set_result(None)
        return descriptor
