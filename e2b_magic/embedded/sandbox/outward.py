"""The descriptors that come out of a sandbox, each looked at before the daemon uses it."""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import sys
from typing import Any

from e2b_magic.embedded.sandbox.channel import Violation

# File systems that are the kernel's own doors (linux/magic.h): it looks at who reads and writes there, not at who
# opened. That would be the daemon, with its rights and its namespaces: by way of /proc/sys a sandbox could change the
# host. Of these a sandbox has /proc alone, since it can mount nothing; the others stand here in case that ever changes.
_DOORS = {
    0x9FA0: "proc",
    0x62656572: "sysfs",
    0x27E0EB: "cgroup",
    0x63677270: "cgroup2",
    0x64626720: "debugfs",
    0x74726163: "tracefs",
    0x73636673: "securityfs",
    0xCAFE4A11: "bpf",
    0x62656570: "configfs",
    0x6E736673: "nsfs",
    0x42494E4D: "binfmt_misc",
}
_libc = ctypes.CDLL(None, use_errno=True)


def _file_system(descriptor: int) -> int:
    """Gives the magic number of the file system that a descriptor's file lies on (fstatfs(2), its first field)."""
    answer = ctypes.create_string_buffer(256)
    if _libc.fstatfs(descriptor, answer) != 0:
        raise OSError(ctypes.get_errno(), "fstatfs")
    return int.from_bytes(answer.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)


def check_file(descriptor: int | None) -> int:
    """Gives the descriptor back if it is a plain file's: reading or writing one never waits for anybody.

    Nor does it ask the kernel for anything in the daemon's name: files of `/proc` are refused.

    Raises:
        Violation: It is something else.
    """
    if descriptor is None or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise Violation("what should be a regular file is none")
    if (found := _file_system(descriptor)) in _DOORS:
        raise Violation(f"what should be a file is one of {_DOORS[found]}")
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
