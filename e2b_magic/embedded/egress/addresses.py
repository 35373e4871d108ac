"""The addresses that no sandbox may reach, whatever its own rules allow: this machine, its networks, metadata services.

An explicit list and not `ipaddress`'s `is_private`, which also means the ranges for documentation (RFC 5737) and for
measurements (198.18.0.0/15): some networks answer the names of registries with addresses out of those.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import psutil

from e2b_magic.embedded.egress.destination import Address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_FORBIDDEN: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(text), what)
    for text, what in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier"),
        ("127.0.0.0/8", "loopback"),
        # The metadata services of most clouds are at 169.254.169.254; Alibaba's is in 100.64.0.0/10, Oracle's former
        # one in 192.0.0.0/24, Amazon's IPv6 one in fc00::/7.
        ("169.254.0.0/16", "link-local, where metadata services are"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "for protocols"),
        ("192.88.99.0/24", "for 6to4 relays"),
        ("192.168.0.0/16", "private"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, or broadcast"),
        ("168.63.129.16/32", "Azure's metadata service"),
        # The unspecified address, loopback, and IPv4 addresses written as IPv6 ones in a way long given up.
        ("::/96", "loopback, or an IPv4 address in disguise"),
        # Translators of one's own network, whose IPv4 side cannot be told from the address alone.
        ("64:ff9b:1::/48", "for local translators"),
        ("2001::/32", "a Teredo tunnel"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def faces(address: Address) -> Iterator[Address]:
    """Gives an address, and the IPv4 address that a packet to it ends at, where it carries one.

    That is so for IPv4-mapped addresses, for 6to4 (RFC 3056), and for NAT64's well-known prefix (RFC 6052).
    """
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        if (mapped := address.ipv4_mapped) is not None:
            yield mapped
        if (tunnelled := address.sixtofour) is not None:
            yield tunnelled
        if address in _NAT64:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def is_own(address: Address) -> bool:
    """Whether an address is one of this machine's, on whatever interface.

    The kernel is asked for a way there, which for its own addresses starts and ends at the same one. Nothing is sent.
    A list of the interfaces' addresses would be another thing to keep up to date.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return bool(ipaddress.ip_address(probe.getsockname()[0]) == address)
    except OSError:
        return False  # there is no way there: dialling it will say so


def own_networks() -> Iterator[Network]:
    """Gives the networks that this machine's interfaces are in, those of one address alone left out.

    Whoever is on the same link is behind the same firewall, if there is one. At home that matters with IPv6, where
    every printer has an address that is public by its looks.
    """
    for places in psutil.net_if_addrs().values():
        for place in places:
            if place.family not in (socket.AF_INET, socket.AF_INET6) or not place.netmask:
                continue
            address = ipaddress.ip_address(place.address.partition("%")[0])
            bits = int(ipaddress.ip_address(place.netmask)).bit_count()
            if 0 < bits < address.max_prefixlen:
                yield ipaddress.ip_network(f"{address}/{bits}", strict=False)


def parse_networks(text: str) -> tuple[Network, ...]:
    """Gives the networks that a list separated by commas names.

    Raises:
        ValueError: One of them is none.
    """
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


@dataclass(frozen=True, slots=True)
class Guard:
    """Judges addresses.

    Args:
        admitted: Networks that are let pass although they are forbidden, as this machine's user chose.
    """

    admitted: tuple[Network, ...] = ()

    def refusal(self, address: Address) -> str | None:
        """Gives why a sandbox may not reach an address; None when it may."""
        if _within(address, self.admitted):
            return None
        for face in faces(address):
            for network, what in _FORBIDDEN:
                if face in network:
                    return f"{address} is {what} ({network}), which no sandbox may reach"
            if is_own(face):
                return f"{address} is this machine's own address, which no sandbox may reach"
            for network in own_networks():
                if face in network:
                    return f"{address} is on this machine's own network ({network}), which no sandbox may reach"
        return None


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
