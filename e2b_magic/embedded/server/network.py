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

from e2b_magic.embedded.egress.destination import parse_destination
from e2b_magic.embedded.egress.policy import Policy
from e2b_magic.embedded.egress.refusals import Refusal
from e2b_magic.embedded.egress.socks import SocksProxy
from e2b_magic.embedded.server.protocol_errors import ProtocolError

# What concerns the way out, and is replaced as a whole by a change; the rest concerns the ports.
_EGRESS = ("allowOut", "denyOut", "rules", "egressProxy", "dnsServers")
# What may stand in a Host header; `${PORT}` stands for the port that a request is for.
_HOST_MASK = re.compile(r"(?:[A-Za-z0-9.:\[\]_-]|\$\{PORT\}){1,255}")
_LONGEST_CREDENTIAL = 255  # RFC 1929, and E2B's schema
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
    if network.get("allowPublicTraffic") is False and not secure:
        raise ProtocolError(400, "private traffic needs a secure sandbox: set secure to true")
    mask = network.get("maskRequestHost")
    if mask is not None and not (isinstance(mask, str) and _HOST_MASK.fullmatch(mask)):
        raise ProtocolError(400, "network.maskRequestHost must be a host's name, as in localhost:${PORT}")
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
    _check_rules(network.get("rules") or {})
    _check_dns_servers(network.get("dnsServers") or [])
    try:
        policy = Policy.of(
            internet=allow_internet_access is not False,
            allow_out=_texts_in(network, "allowOut"),
            deny_out=_texts_in(network, "denyOut"),
        )
    except ValueError as error:
        raise ProtocolError(400, str(error)) from error
    return replace(policy, proxy=_proxy_in(network))


def _proxy_in(network: Mapping[str, Any]) -> SocksProxy | None:
    given = network.get("egressProxy")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise ProtocolError(400, "egressProxy must be an object")
    if given.get("tls") not in (None, False):  # an empty object means TLS as usual
        raise ProtocolError(
            501, "the embedded server reaches an egress proxy without TLS alone: E2B's cloud can do both"
        )
    address, username, password = (given.get(name) or "" for name in ("address", "username", "password"))
    for name, text in (("username", username), ("password", password)):
        if not isinstance(text, str) or len(text.encode("utf-8", "surrogatepass")) > _LONGEST_CREDENTIAL:
            raise ProtocolError(400, f"egressProxy.{name} must be a text of up to {_LONGEST_CREDENTIAL} bytes")
    try:
        destination = parse_destination(address if isinstance(address, str) else "")
    except Refusal as refusal:
        raise ProtocolError(
            400, f"egressProxy.address must be host:port, without a scheme: {refusal.line}"
        ) from refusal
    return SocksProxy(destination=destination, username=username, password=password)


def shown(network: Mapping[str, Any]) -> dict[str, Any]:
    """Gives a configuration as it may be told: without the password of a proxy."""
    proxy = network.get("egressProxy")
    if not isinstance(proxy, dict):
        return dict(network)
    return {**network, "egressProxy": {name: value for name, value in proxy.items() if name != "password"}}


def _texts_in(network: Mapping[str, Any], name: str) -> list[str]:
    value = network.get(name) or []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ProtocolError(400, f"{name} must be a list of texts")
    return value


def _check_rules(rules: object) -> None:
    if not isinstance(rules, dict) or not all(isinstance(each, list) for each in rules.values()):
        raise ProtocolError(400, "rules must be an object whose values are lists")
    for each in rules.values():
        if not all(isinstance(rule, dict) for rule in each):
            raise ProtocolError(400, "each of the rules must be an object")
        if any(rule.get("transform") for rule in each):
            # It would have to decrypt what the sandbox sends, with a certificate that its programs trust.
            raise ProtocolError(501, "the embedded server cannot transform requests on their way: E2B's cloud can")


def _check_dns_servers(servers: object) -> None:
    """Checks them; they have no effect: names are resolved by the proxy, for which no rule is needed."""
    if not isinstance(servers, list) or len(servers) > _MOST_DNS_SERVERS:
        raise ProtocolError(400, f"dnsServers must be a list of up to {_MOST_DNS_SERVERS} IPv4 addresses")
    for server in servers:
        try:
            ipaddress.IPv4Address(server if isinstance(server, str) else "")
        except ValueError as error:
            raise ProtocolError(400, "each of dnsServers must be an IPv4 address") from error
