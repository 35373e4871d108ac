"""A sandbox as a client asks for it: the body of a creation, checked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from e2b_magic.embedded.server.bodies import not_yet, texts_in, timeout_in
from e2b_magic.embedded.server.protocol_errors import ProtocolError

TEMPLATE = "base"
# What may stand in a Host header; `${PORT}` stands for the port that a request is for.
_HOST_MASK = re.compile(r"(?:[A-Za-z0-9.:\[\]_-]|\$\{PORT\}){1,255}")
# What E2B offers and this server does not yet; asking for it is refused, for leaving it out unsaid would be worse.
# `mcp` is no part of it: the SDK itself starts that gateway, as a command, and tells whether it could.
_NOT_YET = {
    "autoPause": "pause a sandbox",
    "iam": "give a sandbox an identity",
    "volumeMounts": "mount volumes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """A sandbox as a client asked for it.

    Attributes:
        template: The template's name.
        timeout: Seconds the sandbox is to live.
        metadata: What the client keeps beside it.
        envs: Variables for every process in it; shown nowhere.
        allow_internet_access: As the client set it; None for not at all.
        network: Its network configuration, as given.
    """

    template: str
    timeout: float
    metadata: Mapping[str, str]
    envs: Mapping[str, str] = field(repr=False)
    allow_internet_access: bool | None
    network: Mapping[str, Any] | None


def _network_in(body: Mapping[str, Any], *, secure: bool) -> dict[str, Any] | None:
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


def creation_in(body: Mapping[str, Any], *, version: int) -> Creation:
    """Gives what the body of a creation asks for.

    Args:
        body: The request's body.
        version: 1 or 2, of the route; a sandbox is always secure in version 2.

    Raises:
        ProtocolError: It asks for something wrong, or for something this server does not have.
    """
    template = body.get("templateID")
    if not isinstance(template, str) or not template:
        raise ProtocolError(400, "templateID is missing")
    if template != TEMPLATE:
        raise ProtocolError(404, f"template '{template}' not found")
    for name, what in _NOT_YET.items():
        if body.get(name):
            raise not_yet(what)
    allow_internet_access = body.get("allow_internet_access")
    if allow_internet_access is not None and not isinstance(allow_internet_access, bool):
        raise ProtocolError(400, "allow_internet_access must be true or false")
    envs = texts_in(body, "envVars")
    if any("\0" in name + value or "=" in name or not name for name, value in envs.items()):
        raise ProtocolError(400, "the name of a variable must not be empty or hold '=', and neither part a NUL")
    return Creation(
        template=template,
        timeout=timeout_in(body),
        metadata=texts_in(body, "metadata"),
        envs=envs,
        allow_internet_access=allow_internet_access,
        network=_network_in(body, secure=version > 1 or body.get("secure") is True),
    )
