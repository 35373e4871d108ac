"""Which addresses no sandbox may reach, and which look as if and are not among them."""

from __future__ import annotations

import ipaddress
import socket

import psutil
import pytest

from e2b_magic.embedded.egress import addresses
from e2b_magic.embedded.egress.addresses import Guard, Network, is_own, own_networks, parse_networks
from e2b_magic.embedded.egress.destination import Address
from e2b_magic.embedded.egress.gateway import ADMIT, Gateway
from e2b_magic.exceptions import ConfigurationError


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.168.1.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_an_address_is_forbidden(text: str) -> None:
    """The guard refuses it, in a line that names it; and without the guard's list nothing would."""
    line = Guard().refusal(ipaddress.ip_address(text))
    assert line is not None
    assert text in line or str(ipaddress.ip_address(text)) in line
    assert (
        Guard((ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))).refusal(ipaddress.ip_address(text))
        is None
    )


@pytest.mark.parametrize(
    "text",
    [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "203.0.113.80",
        "198.51.100.1",
        "198.18.0.1",
        "2606:4700::1111",
        "2001:db8::1",
        "64:ff9b::1.1.1.1",
        "2002:101:101::1",
        "::ffff:1.1.1.1",
    ],
)
def test_an_address_is_not_forbidden(text: str) -> None:
    """What is public passes, and so do the ranges that some networks answer the names of registries with."""
    assert Guard().refusal(ipaddress.ip_address(text)) is None


def _own() -> list[str]:
    families = (socket.AF_INET, socket.AF_INET6)
    return [
        place.address.partition("%")[0]
        for places in psutil.net_if_addrs().values()
        for place in places
        if place.family in families and "%" not in place.address
    ]


@pytest.mark.parametrize("text", _own())
def test_the_machines_own_addresses_are_forbidden(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever range it is in, an address of this machine's is refused; without that guard, by its range at most."""
    address = ipaddress.ip_address(text)
    assert is_own(address)
    assert Guard().refusal(address) is not None
    monkeypatch.setattr(addresses, "is_own", lambda _: False)
    monkeypatch.setattr(addresses, "own_networks", list)
    assert (Guard().refusal(address) is not None) == _in_forbidden_range(address)


def _in_forbidden_range(address: Address) -> bool:
    return any(face in network for face in addresses.faces(address) for network, _ in addresses._FORBIDDEN)


@pytest.mark.parametrize("network", list(own_networks()), ids=str)
def test_neighbours_are_forbidden(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is on the same link as this machine is refused; without that guard, by its range at most."""
    neighbour = network.broadcast_address - 3
    assert Guard().refusal(neighbour) is not None
    assert Guard().refusal(network.network_address + 5) is not None
    monkeypatch.setattr(addresses, "own_networks", list)
    assert (Guard().refusal(neighbour) is not None) == _in_forbidden_range(neighbour)


def test_other_addresses_are_not_the_machines_own() -> None:
    """An address of nobody's here is not taken for one of the machine's."""
    assert not is_own(ipaddress.ip_address("203.0.113.77"))


def test_networks_can_be_admitted() -> None:
    """What the machine's user admits passes, and no more than that."""
    guard = Gateway.from_environment({ADMIT: "10.1.0.0/16, fd00::5"}).guard
    assert guard.refusal(ipaddress.ip_address("10.1.2.3")) is None
    assert guard.refusal(ipaddress.ip_address("fd00::5")) is None
    assert guard.refusal(ipaddress.ip_address("10.2.0.1")) is not None
    assert guard.refusal(ipaddress.ip_address("fd00::6")) is not None


@pytest.mark.parametrize("text", ["10.1.0.0/33", "10.1.2.3/8", "registry.corp", "*"])
def test_what_is_no_network_admits_nothing(text: str) -> None:
    """A setting that cannot be read is an error, not a wider way out."""
    with pytest.raises(ConfigurationError, match=ADMIT):
        Gateway.from_environment({ADMIT: text})
    with pytest.raises(ValueError, match=r"."):
        parse_networks(text)
