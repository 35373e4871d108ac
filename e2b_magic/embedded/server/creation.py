"""A sandbox as a client asks for it: the body of a creation, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from e2b_magic.embedded.server.bodies import flag_in, not_yet, texts_in, timeout_in
from e2b_magic.embedded.server.network import internet_access_in, network_in, policy_of
from e2b_magic.embedded.server.protocol_errors import ProtocolError

# What E2B offers and this server does not yet; asking for it is refused, for leaving it out unsaid would be worse.
# `mcp` is no part of it: the SDK itself starts that gateway, as a command, and tells whether it could.
_NOT_YET = {
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
        auto_pause: Whether it is paused when its time is over, instead of ended.
        auto_pause_memory: Whether that keeps its processes too.
        auto_resume: Whether a request to it wakes it when it is paused.
    """

    template: str
    timeout: float
    metadata: Mapping[str, str]
    envs: Mapping[str, str] = field(repr=False)
    allow_internet_access: bool | None
    network: Mapping[str, Any] | None = field(repr=False)
    auto_pause: bool = False
    auto_pause_memory: bool = True
    auto_resume: bool = False

    @classmethod
    def from_kept(cls, value: Any) -> Self:
        """Gives what `dataclasses.asdict` made an object of.

        Raises:
            TypeError: A part is missing, is not known, or is of another kind.
        """
        if not isinstance(value, dict):
            raise TypeError("creation")
        creation = cls(**value)
        for name, kind in _KINDS.items():
            if not isinstance(getattr(creation, name), kind):
                raise TypeError(name)
        return creation


_KINDS: dict[str, type | tuple[type, ...]] = {
    "template": str,
    "timeout": (int, float),
    "metadata": dict,
    "envs": dict,
    "allow_internet_access": (bool, type(None)),
    "network": (dict, type(None)),
    "auto_pause": bool,
    "auto_pause_memory": bool,
    "auto_resume": bool,
}


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
        **_lifecycle_in(body),
    )


def _lifecycle_in(body: Mapping[str, Any]) -> dict[str, bool]:
    auto_resume = body.get("autoResume") or {}
    if not isinstance(auto_resume, dict):
        raise ProtocolError(400, "autoResume must be an object")
    lifecycle = {
        "auto_pause": flag_in(body, "autoPause", otherwise=False),
        "auto_pause_memory": flag_in(body, "autoPauseMemory", otherwise=True),
        "auto_resume": flag_in(auto_resume, "enabled", otherwise=False),
    }
    if lifecycle["auto_resume"] and not lifecycle["auto_pause_memory"]:
        raise ProtocolError(400, "a sandbox that keeps its files alone is not woken by traffic: leave autoResume out")
    return lifecycle
