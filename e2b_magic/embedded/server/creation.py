"""A sandbox as a client asks for it: the body of a creation, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from e2b_magic.embedded.server.bodies import not_yet, texts_in, timeout_in
from e2b_magic.embedded.server.network import internet_access_in, network_in, policy_of
from e2b_magic.embedded.server.protocol_errors import ProtocolError

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
    for name, what in _NOT_YET.items():
        if body.get(name):
            raise not_yet(what)
    network = network_in(body, secure=version > 1 or body.get("secure") is True)
    allow_internet_access = internet_access_in(body)
    policy_of(network, allow_internet_access)  # refused now, or it would be when the sandbox has started
    envs = texts_in(body, "envVars")
    if any("\0" in name + value or "=" in name or not name for name, value in envs.items()):
        raise ProtocolError(400, "the name of a variable must not be empty or hold '=', and neither part a NUL")
    return Creation(
        template=template,
        timeout=timeout_in(body),
        metadata=texts_in(body, "metadata"),
        envs=envs,
        allow_internet_access=allow_internet_access,
        network=network,
    )
