"""A sandbox's own proxy, as E2B's clients write it (`egressProxy`): read, checked, and shown without what is secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from e2b_magic.embedded.egress.destination import Destination, parse_destination, parse_name
from e2b_magic.embedded.egress.gateway import Gateway
from e2b_magic.embedded.egress.policy import Policy
from e2b_magic.embedded.egress.refusals import Refusal
from e2b_magic.embedded.egress.socks import Encryption, SocksProxy
from e2b_magic.embedded.server.protocol_errors import ProtocolError

_LONGEST_CREDENTIAL = 255  # RFC 1929, and E2B's schema
_LONGEST_AUTHORITIES = 8192  # E2B's figure


def proxy_in(network: Mapping[str, Any]) -> SocksProxy | None:
    """Gives the proxy of a network configuration; None for none.

    Raises:
        ProtocolError: It cannot be read.
    """
    given = network.get("egressProxy")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise ProtocolError(400, "egressProxy must be an object")
    destination = _destination_in(given)
    username, password = _credential_in(given, "username"), _credential_in(given, "password")
    if password and not username:
        raise ProtocolError(400, "egressProxy.password needs egressProxy.username beside it")
    encryption = _encryption_in(given.get("tls"), destination)
    return SocksProxy(destination=destination, username=username, password=password, encryption=encryption)


def _destination_in(given: Mapping[str, Any]) -> Destination:
    address = given.get("address")
    try:
        return parse_destination(address if isinstance(address, str) else "")
    except Refusal as refusal:
        raise ProtocolError(
            400, f"egressProxy.address must be host:port, without a scheme: {refusal.line}"
        ) from refusal


def _credential_in(given: Mapping[str, Any], name: str) -> str:
    text = given.get(name) or ""
    if not isinstance(text, str) or len(text.encode("utf-8", "surrogatepass")) > _LONGEST_CREDENTIAL:
        raise ProtocolError(400, f"egressProxy.{name} must be a text of up to {_LONGEST_CREDENTIAL} bytes")
    return text


def _encryption_in(tls: object, destination: Destination) -> Encryption | None:
    if tls is None:
        return None
    if not isinstance(tls, dict) or not isinstance(tls.get("enabled"), bool):
        raise ProtocolError(400, "egressProxy.tls must be an object in which enabled is true or false")
    if not tls["enabled"]:
        if len(tls) > 1:
            raise ProtocolError(400, "egressProxy.tls must hold nothing beside enabled when that is false")
        return None
    encryption = Encryption(_server_name_in(tls) or str(destination.host), _authorities_in(tls))
    try:
        encryption.context()
    except ValueError as error:
        raise ProtocolError(400, f"egressProxy.tls.caCert holds {error}") from error
    return encryption


def _server_name_in(tls: Mapping[str, Any]) -> str:
    name = tls.get("serverName")
    try:
        return parse_name(name if isinstance(name, str) else "") if name is not None else ""
    except ValueError as error:
        raise ProtocolError(400, f"egressProxy.tls.serverName must be a host's name: {error}") from error


def _authorities_in(tls: Mapping[str, Any]) -> str:
    authorities = tls.get("caCert")
    if authorities is None:
        return ""
    if not isinstance(authorities, str) or not 0 < len(authorities.encode()) <= _LONGEST_AUTHORITIES:
        raise ProtocolError(400, f"egressProxy.tls.caCert must be PEM of up to {_LONGEST_AUTHORITIES} bytes")
    return authorities


async def check_proxy(gateway: Gateway, policy: Policy) -> None:
    """Sees whether a sandbox's own proxy lies where one may.

    Raises:
        ProtocolError: It does not, or its name leads nowhere.
    """
    try:
        await gateway.check(policy)
    except Refusal as refusal:
        raise ProtocolError(400, f"egressProxy.address cannot be used: {refusal.line}") from refusal


def without_secrets(network: Mapping[str, Any]) -> dict[str, Any]:
    """Gives a network configuration as it may be told: of its proxy neither password nor certificates, as at E2B."""
    proxy = network.get("egressProxy")
    if not isinstance(proxy, dict):
        return dict(network)
    shown = {name: value for name, value in proxy.items() if name != "password"}
    if isinstance(tls := shown.pop("tls", None), dict) and tls.get("enabled"):
        shown["tls"] = {name: value for name, value in tls.items() if name != "caCert"}
    return {**network, "egressProxy": shown}
