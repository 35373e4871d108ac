"""What a sandbox's creator lets it reach: E2B's `allow_internet_access`, `allow_out` and `deny_out`.

The order is E2B's: what `allow_out` names is allowed, by name or by address; else what `deny_out` names is denied; else
everything is allowed. `allow_internet_access=False` denies everything that is not allowed by name or address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from e2b_magic.embedded.egress.addresses import Network, faces
from e2b_magic.embedded.egress.destination import Address, Destination
from e2b_magic.embedded.egress.names import NamePattern
from e2b_magic.embedded.egress.refusals import shown
from e2b_magic.embedded.egress.socks import SocksProxy
from e2b_magic.embedded.egress.transforms import Transform, transform_for

# E2B's word for everything (the SDK's `ALL_TRAFFIC`): IPv6 too, which E2B's sandboxes do not have.
EVERYTHING = ipaddress.IPv4Network("0.0.0.0/0")
# Every rule is looked at for every connection.
MOST_RULES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A sandbox's rules.

    Attributes:
        internet: `allow_internet_access`.
        allowed_names: The names of `allow_out`.
        allowed: The networks of `allow_out`.
        denied: The networks of `deny_out`.
        proxy: `egress_proxy`, by which all that is allowed goes; None for none.
        transforms: `rules`: what is done to requests that are allowed.
    """

    internet: bool = True
    allowed_names: tuple[NamePattern, ...] = ()
    allowed: tuple[Network, ...] = ()
    denied: tuple[Network, ...] = ()
    proxy: SocksProxy | None = None
    transforms: tuple[Transform, ...] = ()

    @classmethod
    def of(cls, *, internet: bool, allow_out: Sequence[str], deny_out: Sequence[str]) -> Policy:
        """Gives the policy of a configuration as E2B's clients write it.

        Args:
            internet: `allow_internet_access`.
            allow_out: Names, addresses and networks.
            deny_out: Addresses and networks.

        Raises:
            ValueError: A rule cannot be read, or cannot mean what it says.
        """
        if len(allow_out) + len(deny_out) > MOST_RULES:
            raise ValueError(f"the network rules are more than {MOST_RULES}")
        denied = tuple(_network_in("deny out", text) for text in deny_out)
        names: list[NamePattern] = []
        allowed: list[Network] = []
        for text in allow_out:
            rule = _allowed_in(text)
            names.append(rule) if isinstance(rule, NamePattern) else allowed.append(rule)
        if names and internet and EVERYTHING not in denied:
            # E2B's own sentence: else the names would say nothing, for all others were allowed too.
            raise ValueError(
                "When specifying allowed domains in allow out, "
                "you must include 'ALL_TRAFFIC' in deny out to block all other traffic."
            )
        return cls(internet=internet, allowed_names=tuple(names), allowed=tuple(allowed), denied=denied)

    @property
    def _denies_the_rest(self) -> bool:
        return not self.internet or EVERYTHING in self.denied

    def allows_name(self, destination: Destination) -> bool:
        """Whether `allow_out` names the host that is asked for."""
        host = destination.host
        return isinstance(host, str) and any(pattern.matches(host) for pattern in self.allowed_names)

    def transform(self, destination: Destination) -> Transform | None:
        """Gives what is done to requests to a host; None for nothing."""
        return transform_for(destination, self.transforms)

    def refusal_unresolved(self, destination: Destination) -> str | None:
        """Gives why a name is not even looked up; None when its addresses have to tell.

        A lookup is itself a message to whoever owns the name. As at E2B, names are looked up when some name is
        allowed at all, and then an allowed address may be reached by any name.
        """
        if isinstance(destination.host, str) and self._denies_the_rest and not self.allows_name(destination):
            return None if self.allowed_names and self.allowed else self._not_allowed(destination.host)
        return None

    def refusal(self, destination: Destination, address: Address | None) -> str | None:
        """Gives why a sandbox may not reach an address that a request leads to; None when it may.

        Args:
            destination: What was asked for.
            address: The address to be dialled; None where it is not known: then only a rule by name allows it,
                or that there is no rule against addresses at all.
        """
        if self.allows_name(destination):
            return None
        if address is not None and (EVERYTHING in self.allowed or any(address in network for network in self.allowed)):
            return None
        if self._denies_the_rest:
            return self._not_allowed(address or destination.host)
        if address is None:
            return f"{destination.host} cannot be resolved here, so deny_out cannot be checked" if self.denied else None
        for face in faces(address):
            for network in self.denied:
                if face in network:
                    return f"{address} is denied by the sandbox's rules: deny_out has {network}"
        return None

    def _not_allowed(self, host: str | Address) -> str:
        why = "deny_out has 0.0.0.0/0" if self.internet else "allow_internet_access is false"
        return f"{host} is not in the sandbox's allow_out, and {why}"


def _network_in(name: str, text: str) -> Network:
    try:
        return _parse_network(text)
    except ValueError:
        pass
    if _has_port(text):
        raise ValueError(f"invalid {name} entry {shown(text)}: port-specific rules are not supported for egress")
    raise ValueError(f"invalid {name} entry {shown(text)}: an address or a CIDR is meant; names can only be allowed")


def _parse_network(text: str) -> Network:
    # An address with more bits than its prefix means the network around it, as in Go's `ParseCIDR`.
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and (mapped := network.network_address.ipv4_mapped) is not None:
        return ipaddress.ip_network(f"{mapped}/{max(network.prefixlen - 96, 0)}", strict=False)
    return network


def _allowed_in(text: str) -> Network | NamePattern:
    try:
        return _parse_network(text)
    except ValueError:
        pass
    if _has_port(text):
        raise ValueError(f"invalid allow out entry {shown(text)}: port-specific rules are not supported for egress")
    try:
        return NamePattern.parse(text)
    except ValueError as error:
        meant = "an address, a CIDR, a host name or *.name is meant"
        raise ValueError(f"invalid allow out entry {shown(text)}: {meant}") from error


def _has_port(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return bool(colon) and ":" not in host and port.isdigit()
