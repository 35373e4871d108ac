"""A process's output, from its descriptors to the streams that follow it.

`Output` reads the descriptors as fast as the slowest of its `Listener`s takes, which is how a client that does not
read slows the process down by the pipe between them, and memory stays flat. Where nobody listens, what is read is
dropped: E2B's processes live on, unobserved, when their client leaves.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections import deque
from collections.abc import Mapping

from e2b.envd.process.process_pb import ProcessEvent

from e2b_magic.embedded.server.events import Channel, data_event

# Larger reads were slower: the JSON of a chunk past 64 KiB outgrows the allocator's and the CPU's caches.
READ_SIZE = 64 * 1024
# What a listener may leave unread before its process has to wait; a few reads, so that neither side idles.
BACKLOG = 4 * READ_SIZE
# Linux's default pipe holds 64 KiB, one read; a larger one lets the process write on while a chunk is encoded.
PIPE_SIZE = 256 * 1024


def _enlarge(descriptor: int) -> None:
    """Enlarges a pipe's buffer, where there is a pipe and the user's allowance of pipe memory is not spent."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    except (PermissionError, OSError):
        # A socket (EBADF) or a spent allowance (EPERM): a smaller buffer does the same, slower.
        return


class Listener:
    """What one stream has yet to see of a process: events in order, then the end.

    Attributes:
        failure: What to raise once the events are through, or None where the process ended by itself.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._events: deque[tuple[ProcessEvent, int]] = deque()
        self._pending = 0
        self._ended = False
        self._woken: asyncio.Future[None] | None = None
        self.failure: Exception | None = None

    @property
    def full(self) -> bool:
        """Whether the process should wait for this listener."""
        return self._pending >= BACKLOG

    def put(self, event: ProcessEvent, size: int = 0) -> None:
        """Adds an event that holds `size` bytes of output."""
        self._events.append((event, size))
        self._pending += size
        self._wake()

    def end(self, failure: Exception | None = None) -> None:
        """Lets the listener know that nothing comes any more."""
        self._ended = True
        self.failure = failure
        self._wake()

    def close(self) -> None:
        """Stops listening, so that the process no longer waits for this listener."""
        self._output.remove(self)

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def next(self, patience: float) -> ProcessEvent | None:
        """Gives the next event, or None at the end.

        Args:
            patience: Seconds to wait for it.

        Raises:
            TimeoutError: Nothing came in time.
        """
        if not self._events and not self._ended:
            self._woken = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(patience):
                await self._woken
        if self._events:
            event, size = self._events.popleft()
            self._pending -= size
            self._output.resume()
            return event
        if self.failure is not None:
            raise self.failure
        return None


class Output:
    """Reads a process's output and hands it to everyone who listens.

    Args:
        descriptors: The non-blocking descriptors to read, and what each carries.

    Attributes:
        finished: Done when all descriptors have come to their end.
    """

    def __init__(self, descriptors: Mapping[int, Channel]) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptors = dict(descriptors)
        self._listeners: set[Listener] = set()
        self._reading = False
        self.finished: asyncio.Future[None] = self._loop.create_future()
        for descriptor in self._descriptors:
            _enlarge(descriptor)

    def listen(self) -> Listener:
        """Gives a listener to everything that is read from now on, and starts the reading."""
        listener = Listener(self)
        self._listeners.add(listener)
        self.resume()
        return listener

    def remove(self, listener: Listener) -> None:
        """Forgets a listener; removing it twice is no mistake."""
        self._listeners.discard(listener)
        self.resume()

    def resume(self) -> None:
        """Reads on, unless a listener is behind."""
        if not self._reading and not any(listener.full for listener in self._listeners):
            self._reading = True
            for descriptor in self._descriptors:
                self._loop.add_reader(descriptor, self._read, descriptor)

    def _pause(self) -> None:
        self._reading = False
        for descriptor in self._descriptors:
            self._loop.remove_reader(descriptor)

    def _read(self, descriptor: int) -> bool:
        """Hands one chunk on, and says whether there was one."""
        try:
            chunk = os.read(descriptor, READ_SIZE)
        except BlockingIOError:
            return False
        except (ConnectionResetError, OSError):
            # EIO or a reset is how a terminal's end looks from here; it holds no more output than an end of file.
            chunk = b""
        if not chunk:
            self._finish(descriptor)
            return False
        event = data_event(self._descriptors[descriptor], chunk) if self._listeners else None
        for listener in self._listeners:
            if event is not None:
                listener.put(event, len(chunk))
        if any(listener.full for listener in self._listeners):
            self._pause()
        return True

    def _finish(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        del self._descriptors[descriptor]
        if not self._descriptors and not self.finished.done():
            self.finished.set_result(None)

    def drain(self) -> None:
        """Hands on what lies in the pipes at this moment, and no more: whoever holds them may write for ever."""
        for descriptor in list(self._descriptors):
            for _ in range(PIPE_SIZE // READ_SIZE):
                if not self._read(descriptor):
                    break

    def end(self, event: ProcessEvent | None = None, failure: Exception | None = None) -> None:
        """Ends every listener, after a last event if there is one, and stops reading."""
        self._pause()
        self._descriptors.clear()
        for listener in self._listeners:
            if event is not None:
                listener.put(event)
            listener.end(failure)
        self._listeners.clear()
