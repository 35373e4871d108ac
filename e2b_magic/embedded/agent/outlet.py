"""Listens where programs inside look for the proxy, and hands each connection out.

Not the listening socket itself: accept(2) knows no "do not wait" of its own, so whoever shares a listening socket
with the sandbox can be made to wait by it. A connection's calls can each say that they do not wait.
"""

from __future__ import annotations

import _socket  # see `channel`
import os
from select import EPOLLIN

from e2b_magic.embedded.agent.failures import Failure, of_system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from e2b_magic.embedded.agent.loop import Loop

# Connections that the kernel keeps while the daemon asks for none.
BACKLOG = 256


class Outlet:
    """One listening socket on the sandbox's loopback, made when it is first asked for.

    Args:
        loop: The agent's loop.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._listening: _socket.socket | None = None
        self._waiting: list[Callable[[int | Failure], None]] = []

    def accept(self, port: int, answer: Callable[[int | Failure], None]) -> None:
        """Waits for a connection.

        Args:
            port: Where to listen; only the first call's counts.
            answer: Called with the connection's descriptor, which is closed afterwards, or with why there is none.

        Raises:
            OSError: The port is taken.
        """
        if self._listening is None:
            self._listening = _listen(port)
        self._waiting.append(answer)
        self._loop.watch(self._listening.fileno(), EPOLLIN, self._ready)

    def _ready(self) -> None:
        assert self._listening is not None  # noqa: S101 - for the type checker: it is what was waited for
        try:
            descriptor, _ = self._listening._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - `accept` is `socket`'s
        except (BlockingIOError, ConnectionAbortedError):
            return  # who dialled has left
        except OSError as error:
            self._answer(of_system(error, "the proxy's port"))
            return
        try:
            self._answer(descriptor)
        finally:
            os.close(descriptor)

    def _answer(self, outcome: int | Failure) -> None:
        answer = self._waiting.pop(0)
        if not self._waiting:
            assert self._listening is not None  # noqa: S101 - see `_ready`
            self._loop.watch(self._listening.fileno(), 0, self._ready)
        answer(outcome)


def _listen(port: int) -> _socket.socket:
    listening = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    try:
        listening.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
