"""Where a request wants to go: a host and a port, read so strictly that nobody further on can read them otherwise.

What is neither a plain name nor a plain address is refused, not repaired. Resolvers know more spellings than that
(`0x7f.1` is 127.0.0.1 to them), and libraries disagree about `@`, NUL and the like: a rule that was checked on one
reading would be passed by another.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from e2b_magic.embedded.egress.refusals import Refusal, shown

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Letters, digits and hyphens (RFC 1123), and the underscore, which hosts have in spite of it.
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# A last label like this makes an address of a name, in one of inet_aton's spellings: decimal, octal, hexadecimal.
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::(\d{1,5}))?")
_LONGEST_NAME = 253  # RFC 1035, 2.3.4


@dataclass(frozen=True, slots=True)
class Destination:
    """A host and a port.

    Attributes:
        host: A name, in lower case and without a dot at its end, or an address.
        port: 1 to 65,535.
    """

    host: str | Address
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if isinstance(self.host, ipaddress.IPv6Address) else self.host
        return f"{host}:{self.port}"


def parse_name(text: str) -> str:
    """Gives a host's name in lower case, without the dot that may end it.

    Raises:
        ValueError: It is none.
    """
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if not text.isascii() or len(name) > _LONGEST_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(f"{shown(text)} is no host name")
    if _NUMBER.fullmatch(labels[-1]):
        raise ValueError(f"{shown(text)} is no host name, but a resolver would take it for an address")
    return name


def parse_address(text: str) -> Address:
    """Gives an address; an IPv4 address within an IPv6 one (`::ffff:…`) is the former.

    Raises:
        ValueError: It is none, or names an interface of this machine (`fe80::1%eth0`).
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"{shown(text)} names an interface")
        return address.ipv4_mapped or address
    return address


def _parse_host(text: str) -> str | Address:
    if text.startswith("["):
        address = text.removeprefix("[").removesuffix("]")
        if ":" not in address:
            raise ValueError(f"{shown(text)} is no IPv6 address")
        return parse_address(address)
    try:
        return parse_address(text)
    except ValueError:
        return parse_name(text)


def parse_destination(text: str, *, default_port: int | None = None) -> Destination:
    """Gives the destination that `host:port` names.

    Args:
        text: As the client sent it.
        default_port: The port where none is named; None where one must be.

    Raises:
        Refusal: 403 for a host that is none, since no rule could be checked on it; 400 for a port that is none.
    """
    parts = _AUTHORITY.fullmatch(text)
    if parts is None:
        raise Refusal(403, f"{shown(text)} is no host and port")
    host, port = parts.groups()
    try:
        parsed = _parse_host(host)
    except ValueError as error:
        raise Refusal(403, f"{shown(host)} is no host: a name in ASCII, 1.2.3.4 or [2001:db8::1] is") from error
    number = default_port if port is None else int(port)
    if number is None or not 0 < number < 65536:
        raise Refusal(400, f"{shown(text)} needs a port from 1 to 65535")
    return Destination(parsed, number)
