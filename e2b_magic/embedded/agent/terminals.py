"""A pseudo terminal, made inside, and the relay between it and a socket that the daemon made.

The daemon never holds a terminal of the sandbox's: reading one can be made to block by whoever holds its other end.
"""

from __future__ import annotations

import os
from select import EPOLLIN, EPOLLOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from e2b_magic.embedded.agent.loop import Loop

CHUNK = 65536


def set_size(descriptor: int, columns: int, rows: int) -> None:
    """Sets a terminal's size, of which the kernel tells its foreground processes.

    Args:
        descriptor: The terminal's.
        columns: Characters in a line, up to 65,535.
        rows: Lines, up to 65,535.
    """
    # Imported here: most sandboxes never see a terminal.
    import fcntl
    import termios

    size = b"".join(min(number, 0xFFFF).to_bytes(2, "little") for number in (rows, columns, 0, 0))
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, size)


class _Flow:
    """One direction: what was read and is not yet written."""

    def __init__(self, source: int, sink: int) -> None:
        self.source = source
        self.sink = sink
        self.pending = b""
        self.ended = False

    def advance(self) -> None:
        """Moves what can be moved without waiting."""
        try:
            while not self.ended:
                if not self.pending:
                    self.pending = os.read(self.source, CHUNK)
                    self.ended = not self.pending
                while self.pending:
                    self.pending = self.pending[os.write(self.sink, self.pending) :]
        except BlockingIOError:
            return
        except OSError:
            # EIO: nobody has the terminal open any more. EPIPE, ECONNRESET: the daemon closed its end.
            self.ended = True


class Relay:
    """Carries bytes both ways until the terminal has no more users, or the daemon closes.

    Args:
        loop: The agent's loop.
        master: The terminal's master end, which the relay closes.
        socket: The agent's end of the daemon's socket pair, which the relay closes.
    """

    def __init__(self, loop: Loop, master: int, socket: int) -> None:
        self._loop = loop
        self.master = master
        self._socket = socket
        self._outward = _Flow(master, socket)
        self._inward = _Flow(socket, master)
        self.closed = False
        os.set_blocking(master, False)
        os.set_blocking(socket, False)
        self._advance()

    def _advance(self) -> None:
        self._outward.advance()
        self._inward.advance()
        if self._outward.ended:
            self._close()
            return
        self._loop.watch(self.master, self._wanted(self._outward, self._inward), self._advance)
        self._loop.watch(self._socket, self._wanted(self._inward, self._outward), self._advance)

    @staticmethod
    def _wanted(reading: _Flow, writing: _Flow) -> int:
        wanted = 0 if reading.pending or reading.ended else EPOLLIN
        return wanted | (EPOLLOUT if writing.pending and not writing.ended else 0)

    def _close(self) -> None:
        self.closed = True
        for descriptor in (self.master, self._socket):
            self._loop.watch(descriptor, 0, self._advance)
            os.close(descriptor)
