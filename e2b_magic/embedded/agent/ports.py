"""Dials a port of the sandbox's own loopback, and hands the connected socket out."""

from __future__ import annotations

import _socket  # see `channel`
import errno
from select import EPOLLOUT

from e2b_magic.embedded.agent.failures import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from e2b_magic.embedded.agent.loop import Loop

LOOPBACK = ((_socket.AF_INET, "127.0.0.1"), (_socket.AF_INET6, "::1"))


def connect(loop: Loop, port: int, answer: Callable[[int | Failure], None]) -> None:
    """Dials a port, over IPv4 and then over IPv6.

    Args:
        loop: The agent's loop.
        port: 1 to 65,535.
        answer: Called with the connected socket's descriptor, which is closed afterwards, or with `not_found`.
    """
    _Dial(loop, port, answer).next()


class _Dial:
    def __init__(self, loop: Loop, port: int, answer: Callable[[int | Failure], None]) -> None:
        self._loop = loop
        self._port = port
        self._answer = answer
        self._left = list(LOOPBACK)
        self._socket: _socket.socket | None = None

    def next(self) -> None:
        if not self._left:
            self._answer(Failure("not_found", f"port {self._port} is not open"))
            return
        family, address = self._left.pop(0)
        try:
            self._socket = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
        except OSError:
            self.next()  # a kernel without IPv6
            return
        self._settle(self._socket.connect_ex((address, self._port)))

    def _settle(self, outcome: int) -> None:
        assert self._socket is not None  # noqa: S101 - for the type checker: `next` made it
        if outcome == errno.EINPROGRESS:
            self._loop.watch(self._socket.fileno(), EPOLLOUT, self._ready)
            return
        if outcome == 0:
            self._answer(self._socket.fileno())
        self._socket.close()
        if outcome != 0:
            self.next()

    def _ready(self) -> None:
        assert self._socket is not None  # noqa: S101 - for the type checker: it is what was waited for
        self._loop.watch(self._socket.fileno(), 0, self._ready)
        self._settle(self._socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR))
