"""The descriptors that come out of a sandbox, each looked at before the daemon uses it."""

from __future__ import annotations

import os
import socket
import stat
from typing import Any

from e2b_magic.embedded.sandbox.channel import Violation


def check_file(descriptor: int | None) -> int:
    """Gives the descriptor back if it is a regular file's: reading or writing one never waits for anybody.

    Raises:
        Violation: It is something else.
    """
    if descriptor is None or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise Violation("what should be a regular file is none")
    return descriptor


class Connection(socket.socket):
    """A TCP connection to a port inside, which never blocks.

    The sandbox may keep a descriptor of the same open file description, and with it switch O_NONBLOCK off. So each
    call says for itself that it does not wait; asyncio's transports use just these.
    """

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receives without waiting."""
        return super().recv(bufsize, flags | socket.MSG_DONTWAIT)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receives into a buffer without waiting."""
        return super().recv_into(buffer, nbytes, flags | socket.MSG_DONTWAIT)

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Sends without waiting."""
        return super().send(data, flags | socket.MSG_DONTWAIT)

    def sendmsg(self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /) -> int:
        """Sends several buffers without waiting."""
        return super().sendmsg(buffers, ancdata, flags | socket.MSG_DONTWAIT, address)


def check_socket(descriptor: int | None) -> Connection:
    """Gives the connection if the descriptor is a TCP socket's.

    Raises:
        Violation: It is something else.
    """
    if descriptor is None or not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        raise Violation("what should be a socket is none")
    with socket.socket(fileno=os.dup(descriptor)) as looked_at:
        if looked_at.family not in (socket.AF_INET, socket.AF_INET6) or looked_at.type != socket.SOCK_STREAM:
            raise Violation("what should be a TCP connection is none")
    connection = Connection(fileno=descriptor)
    connection.setblocking(False)
    return connection
