"""A SOCKS5 proxy of the creator of a sandbox, which itself knows nothing of it (RFC 1928, RFC 1929)."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass, field

from e2b_magic.embedded.egress.destination import Address, Destination
from e2b_magic.embedded.egress.refusals import Refusal

# RFC 1928, section 3: how the client may say who it is.
_NOBODY, _PASSWORD = 0, 2
# Section 5: the types of addresses, and the bytes that each has.
_IPV4, _NAME, _IPV6 = 1, 3, 4
_LENGTHS = {_IPV4: 4, _IPV6: 16}
# Section 6.
_REPLIES = {
    1: "it failed",
    2: "its own rules forbid it",
    3: "the network is unreachable",
    4: "the host is unreachable",
    5: "the connection was refused",
    6: "no way leads there in time",
    7: "it does not know the command",
    8: "it does not know this type of address",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SocksProxy:
    """A SOCKS5 proxy.

    Attributes:
        destination: Where it is.
        username: What it is told of who asks; empty, together with the password, for nothing.
        password: Shown nowhere.
    """

    destination: Destination
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    async def ask(self, connection: socket.socket, host: str | Address, port: int) -> None:
        """Has a connection to the proxy lead on to a host: after it, what is said is said to the host.

        Args:
            connection: To the proxy, nothing having been said.
            host: A name, which the proxy resolves, or an address.
            port: The host's port.

        Raises:
            Refusal: 502: the proxy refuses, or speaks no SOCKS5.
            OSError: The connection broke.
        """
        loop = asyncio.get_running_loop()
        await self._introduce(connection)
        await loop.sock_sendall(connection, bytes([5, 1, 0]) + _address(host) + port.to_bytes(2, "big"))
        version, reply, _, kind = await _exactly(connection, 4)
        if version != 5:
            raise Refusal(502, "the sandbox's egress proxy does not speak SOCKS5")
        if reply:
            why = _REPLIES.get(reply, f"it answered {reply}")
            raise Refusal(502, f"the sandbox's egress proxy does not reach {host}: {why}")
        length = (await _exactly(connection, 1))[0] if kind == _NAME else _LENGTHS.get(kind, 0)
        await _exactly(connection, length + 2)

    async def _introduce(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        user, password = self.username.encode(), self.password.encode()
        wanted = _PASSWORD if user or password else _NOBODY
        await loop.sock_sendall(connection, bytes([5, 1, wanted]))
        version, chosen = await _exactly(connection, 2)
        if version != 5:
            raise Refusal(502, "the sandbox's egress proxy does not speak SOCKS5")
        if chosen != wanted:
            raise Refusal(502, "the sandbox's egress proxy wants to be told otherwise who asks")
        if wanted == _PASSWORD:
            told = bytes([1, len(user)]) + user + bytes([len(password)]) + password
            await loop.sock_sendall(connection, told)
            if (await _exactly(connection, 2))[1]:
                raise Refusal(502, "the sandbox's egress proxy refuses its username or password")


def _address(host: str | Address) -> bytes:
    if isinstance(host, ipaddress.IPv4Address):
        return bytes([_IPV4]) + host.packed
    if isinstance(host, ipaddress.IPv6Address):
        return bytes([_IPV6]) + host.packed
    return bytes([_NAME, len(host)]) + host.encode("ascii")


async def _exactly(connection: socket.socket, count: int) -> bytes:
    """Takes so many bytes and none more: what follows is the host's."""
    loop = asyncio.get_running_loop()
    received = b""
    while len(received) < count:
        part = await loop.sock_recv(connection, count - len(received))
        if not part:
            raise Refusal(502, "the sandbox's egress proxy closed the connection")
        received += part
    return received
