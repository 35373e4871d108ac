"""A sandbox's network configuration, as E2B's clients write it: read, checked, and turned into the proxy's policy.

What this server cannot do is refused: to leave a rule out unsaid would be worse.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from e2b_magic.embedded.egress.policy import Policy
from e2b_magic.embedded.server.bodies import flag_in
from e2b_magic.embedded.server.egress_proxy import proxy_in
from e2b_magic.embedded.server.envd import ENVD_PORT
from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.transform_rules import transforms_in

# What concerns the way out, and is replaced as a whole by a change; the rest concerns the ports.
_EGRESS = ("allowOut", "denyOut", "rules", "egressProxy", "dnsServers")
# What may stand in a Host header; `${PORT}` stands for the port that a request is for.
_HOST_MASK = re.compile(r"(?:[A-Za-z0-9.:\[\]_-]|\$\{PORT\}){1,255}")
_MOST_DNS_SERVERS = 10  # E2B's figure


def network_in(body: Mapping[str, Any], *, secure: bool) -> dict[str, Any] | None:
    """Gives the network configuration that the body of a creation asks for; None for none.

    Args:
        body: The request's body.
        secure: Whether what goes on in the sandbox needs its token.

    Raises:
        ProtocolError: It asks for something wrong.
    """
    network = body.get("network")
    if network is None:
        return None
    if not isinstance(network, dict):
        raise ProtocolError(400, "network must be an object")
    if not flag_in(network, "allowPublicTraffic", otherwise=True) and not secure:
        raise ProtocolError(400, "private traffic needs a secure sandbox: set secure to true")
    mask = network.get("maskRequestHost")
    if mask is not None and not (isinstance(mask, str) and _HOST_MASK.fullmatch(mask)):
        raise ProtocolError(400, "network.maskRequestHost must be a host's name, as in localhost:${PORT}")
    _check_https_ports(network.get("httpsPorts") or [])
    try:
        json.dumps(network, allow_nan=False)
    except ValueError as error:  # it could be shown to nobody
        raise ProtocolError(400, "network holds NaN or an infinity, which JSON has not") from error
    return network


def internet_access_in(body: Mapping[str, Any]) -> bool | None:
    """Gives `allow_internet_access`; None where it is not set.

    Raises:
        ProtocolError: It is neither true nor false.
    """
    allowed = body.get("allow_internet_access")
    if allowed is not None and not isinstance(allowed, bool):
        raise ProtocolError(400, "allow_internet_access must be true or false")
    return allowed


def change_in(body: Mapping[str, Any], network: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Gives a network configuration after a change, which replaces all that concerns the way out.

    Args:
        body: The change's body.
        network: The configuration before.

    Raises:
        ProtocolError: It asks for something wrong.
    """
    kept = {name: value for name, value in (network or {}).items() if name not in _EGRESS}
    given = {name: body[name] for name in _EGRESS if body.get(name) is not None}
    return network_in({"network": {**kept, **given}}, secure=True) if kept or given else None


def policy_of(network: Mapping[str, Any] | None, allow_internet_access: bool | None) -> Policy:
    """Gives the rules that a configuration puts in force.

    Args:
        network: The network configuration; None for none.
        allow_internet_access: As the client set it; None, which means true, for not at all.

    Raises:
        ProtocolError: A rule cannot be read, or this server cannot keep it.
    """
    network = network or {}
    _check_dns_servers(network.get("dnsServers") or [])
    try:
        policy = Policy.of(
            internet=allow_internet_access is not False,
            allow_out=_texts_in(network, "allowOut"),
            deny_out=_texts_in(network, "denyOut"),
        )
    except ValueError as error:
        raise ProtocolError(400, str(error)) from error
    return replace(policy, proxy=proxy_in(network), transforms=transforms_in(network))


def puts_headers(network: Mapping[str, Any] | None) -> bool:
    """Whether a configuration has rules that put headers into requests.

    Raises:
        ProtocolError: One of them cannot be read.
    """
    return bool(transforms_in(network or {}))


def _texts_in(network: Mapping[str, Any], name: str) -> list[str]:
    value = network.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ProtocolError(400, f"{name} must be a list of texts")
    return value


def _check_https_ports(ports: object) -> None:
    if not isinstance(ports, list) or not all(map(_is_port, ports)):
        raise ProtocolError(400, f"network.httpsPorts must be a list of ports from 1 to 65535, without {ENVD_PORT}")


def _is_port(port: object) -> bool:
    return isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536 and port != ENVD_PORT


def _check_dns_servers(servers: object) -> None:
    """Checks them; they have no effect: names are resolved by the proxy, for which no rule is needed."""
    if not isinstance(servers, list) or len(servers) > _MOST_DNS_SERVERS:
        raise ProtocolError(400, f"dnsServers must be a list of up to {_MOST_DNS_SERVERS} IPv4 addresses")
    for server in servers:
        try:
            ipaddress.IPv4Address(server if isinstance(server, str) else "")
        except ValueError as error:
            raise ProtocolError(400, "each of dnsServers must be an IPv4 address") from error
