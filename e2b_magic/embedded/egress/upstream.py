"""A proxy that this machine itself has to use, and through which a sandbox's connections then go too."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # not in typeshed

from e2b_magic.embedded.egress.destination import Address, Destination
from e2b_magic.embedded.egress.refusals import Refusal
from e2b_magic.exceptions import ConfigurationError

_HEAD_LIMIT = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_ON, _OFF = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamProxy:
    """An HTTP proxy that takes CONNECT.

    Attributes:
        host: Its name or address.
        port: Its port.
        authorization: What it wants to hear of who uses it; None for nothing. Shown nowhere.
        unsupported: Why it cannot be used; empty when it can.
        exceptions: `NO_PROXY`: what is dialled without it.
        resolves: Whether it is trusted with names. Else it gets the address that was looked up and judged here:
            given a name, it would look it up again, and might get another answer, from a network that it can reach.
    """

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)
    unsupported: str = ""
    exceptions: str = ""
    resolves: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> UpstreamProxy | None:
        """Gives the proxy that `HTTPS_PROXY` names (or `https_proxy`, `ALL_PROXY`, `all_proxy`); None for none.

        Args:
            environment: Also read for `NO_PROXY` and for `E2B_MAGIC_EGRESS_PROXY_RESOLVES`.

        Raises:
            ConfigurationError: The latter is neither on nor off.
        """
        names = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
        url = next((environment[name] for name in names if environment.get(name)), "")
        if not url:
            return None
        exceptions = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
        resolves = _switch(environment, "E2B_MAGIC_EGRESS_PROXY_RESOLVES")
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return cls(host="", port=0, unsupported="HTTPS_PROXY cannot be read", exceptions=exceptions)
        unsupported = "" if parts.scheme == "http" and host else f"it is no http:// proxy but {parts.scheme}://"
        authorization = _authorization(parts)
        return cls(
            host=host,
            port=port,
            authorization=authorization,
            unsupported=unsupported,
            exceptions=exceptions,
            resolves=resolves,
        )

    def serves(self, destination: Destination) -> bool:
        """Whether a destination is dialled through it."""
        return not (self.exceptions and proxy_bypass_environment(str(destination.host), {"no": self.exceptions}))

    async def dial(self, host: str | Address, port: int) -> socket.socket:
        """Gives a connection to a host, through the proxy.

        Args:
            host: A name, which the proxy resolves, or an address.
            port: The host's port.

        Raises:
            Refusal: The proxy refuses, cannot be used, or does not speak HTTP.
            OSError: It cannot be reached.
        """
        if self.unsupported:
            raise Refusal(502, f"this machine's own proxy cannot be used for sandboxes: {self.unsupported}")
        connection = await _connect(self.host, self.port)
        try:
            await self._ask(connection, Destination(host, port))
        except BaseException:
            connection.close()
            raise
        return connection

    async def _ask(self, connection: socket.socket, destination: Destination) -> None:
        loop = asyncio.get_running_loop()
        fields = "" if self.authorization is None else f"Proxy-Authorization: {self.authorization}\r\n"
        await loop.sock_sendall(
            connection, f"CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n{fields}\r\n".encode("ascii")
        )
        head = b""
        # Taken line by line: what follows the head is the destination's, and is left to who gets the connection.
        while (end := head.find(b"\r\n\r\n")) < 0:
            if len(head) >= _HEAD_LIMIT:
                raise Refusal(502, "this machine's own proxy answered with too long a head")
            head += await _until_line(connection)
        status = _STATUS.match(head)
        if status is None or end < 0:
            raise Refusal(502, "this machine's own proxy did not answer in HTTP")
        if status[1] != b"200":
            raise Refusal(502, f"this machine's own proxy answered {status[1].decode()} for {destination}")


def _switch(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name, "")
    if text.lower() not in (*_ON, *_OFF):
        raise ConfigurationError(f"{name} must be 1 or 0, not {text!r}")
    return text.lower() in _ON


async def _until_line(connection: socket.socket) -> bytes:
    """Takes what has arrived up to the end of a line, and no byte more.

    Raises:
        Refusal: Nothing comes any more.
    """
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)
    waiting = connection.recv(4096, socket.MSG_PEEK)
    if not waiting:
        raise Refusal(502, "this machine's own proxy closed the connection")
    return connection.recv(waiting.find(b"\n") + 1 or len(waiting))


async def _connect(host: str, port: int) -> socket.socket:
    """Dials a host that this machine's user named, whatever its address."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, place = found[0]
    connection = socket.socket(family, kind, protocol)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(connection, place)
    except BaseException:
        connection.close()
        raise
    return connection


def _authorization(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")
