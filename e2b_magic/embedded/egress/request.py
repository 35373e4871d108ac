"""The head of a request to the proxy: read within bounds of size and time, and understood strictly."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from e2b_magic.embedded.egress.destination import Destination, parse_destination
from e2b_magic.embedded.egress.refusals import Refusal, shown
from e2b_magic.embedded.egress.streams import Stream

_END = b"\r\n\r\n"
_METHOD = re.compile(r"[A-Z]{1,20}")
_VERSIONS = ("HTTP/1.1", "HTTP/1.0")
_TLS_HANDSHAKE = 0x16  # RFC 8446, 5.1


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the proxy.

    Attributes:
        destination: Where it is to go.
        tunnel: Whether it asks for a tunnel (CONNECT); else it is a plain one, to be made in the client's name.
        head: Of a plain one, its head as the destination is to get it, but for what concerns this connection alone.
        rest: What came after the head.
        secure: Whether it came by TLS, in which the server stands in for the destination.
    """

    destination: Destination
    tunnel: bool
    head: bytes
    rest: bytes
    secure: bool = False

    @property
    def host(self) -> bytes:
        """The destination, as an origin is told it: without the port where that is the usual one."""
        return str(self.destination).removesuffix(":443" if self.secure else ":80").encode("ascii")


async def read_request(inside: Stream, *, limit: int, timeout: float) -> Request | None:  # noqa: ASYNC109 - a bound
    """Reads a request to the proxy; None when the client left, or said nothing, before its head was whole.

    Args:
        inside: The client's stream.
        limit: The bytes that a head may have.
        timeout: Seconds that it has to arrive.

    Raises:
        Refusal: It is too long, too slow, or no request to a proxy.
        OSError: The connection broke.
    """
    came = await _read_head(inside, limit, timeout)
    return None if came is None else _parse(*came)


async def read_inner_request(inside: Stream, destination: Destination, *, limit: int, timeout: float) -> Request | None:  # noqa: ASYNC109 - a bound
    """Reads a request to a destination that the server stands in for; None and bounds as for `read_request`.

    Raises:
        Refusal: It is too long, too slow, or none that a server would get.
        OSError: The connection broke.
    """
    came = await _read_head(inside, limit, timeout)
    if came is None:
        return None
    head, rest = came
    words = head.partition(b"\r\n")[0].split(b" ")
    if len(words) != 3 or words[0] == b"CONNECT" or not words[1].startswith((b"/", b"*")):
        raise Refusal(400, "the request is none that a server takes")
    return Request(destination, tunnel=False, head=head + _END, rest=rest, secure=True)


async def _read_head(inside: Stream, limit: int, timeout: float) -> tuple[bytes, bytes] | None:  # noqa: ASYNC109 - a bound
    received = bytearray()
    try:
        async with asyncio.timeout(timeout):
            while (end := received.find(_END)) < 0:
                if len(received) >= limit:
                    raise Refusal(431, f"the request's head is longer than {limit} bytes")
                part = await inside.receive(limit - len(received))
                if not part:
                    return None
                received += part
                if received[0] == _TLS_HANDSHAKE:
                    raise Refusal(400, "the proxy speaks plain HTTP: its own URL begins with http://")
    except TimeoutError:
        if not received:
            return None
        raise Refusal(408, f"the request's head did not arrive within {timeout:g} seconds") from None
    return bytes(received[:end]), bytes(received[end + len(_END) :])


def _parse(head: bytes, rest: bytes) -> Request:
    line, _, fields = head.partition(b"\r\n")
    # Latin-1: every byte is a character, and none is lost before it is looked at.
    words = line.decode("latin-1").split(" ")
    if len(words) != 3 or not _METHOD.fullmatch(words[0]) or words[2] not in _VERSIONS:
        raise Refusal(400, f"{shown(line.decode('latin-1'))} is no request line")
    method, target, version = words
    if method == "CONNECT":
        return Request(parse_destination(target), tunnel=True, head=b"", rest=rest)
    scheme, separator, after = target.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise Refusal(400, "this is a proxy: it takes CONNECT host:port, or METHOD http://host/path")
    if scheme.lower() == "https":
        raise Refusal(400, "the proxy takes https:// by CONNECT only")
    authority = re.split(r"[/?#]", after, maxsplit=1)[0]
    destination = parse_destination(authority, default_port=80)
    path = after[len(authority) :]
    path = path if path.startswith("/") else f"/{path}"
    start = f"{method} {path} {version}\r\n".encode("latin-1")
    return Request(destination, tunnel=False, head=start + fields + _END, rest=rest)
