"""The bodies of the control routes, read and checked: what a client asks for, or a refusal that says what is wrong."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from e2b_magic.embedded.server.protocol_errors import ProtocolError

DEFAULT_TIMEOUT = 300
# A day, the longest that E2B grants on any plan.
LONGEST_TIMEOUT = 24 * 60 * 60
TEMPLATE = "base"
_LARGEST_BODY = 1024 * 1024
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


async def read_object(request: Request) -> dict[str, Any]:
    """Gives a request's JSON object; an empty body counts as an empty one.

    Raises:
        ProtocolError: The body is too large or no JSON object.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY:
            raise ProtocolError(413, f"the body is larger than {_LARGEST_BODY} bytes")
    try:
        value = json.loads(body or b"{}")
        # Python takes half a surrogate pair, which no answer and no process could be given later.
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ProtocolError(400, "a text in the body holds half a surrogate pair, which is no character") from error
    except (ValueError, RecursionError) as error:
        raise ProtocolError(400, "the body must be JSON") from error
    if not isinstance(value, dict):
        raise ProtocolError(400, "the body must be a JSON object")
    return value


def not_yet(what: str) -> ProtocolError:
    """Gives the refusal of something that E2B offers and this server does not."""
    return ProtocolError(501, f"the embedded server cannot {what} yet: E2B's own servers can")


def timeout_in(body: Mapping[str, Any], *, least: int = 1) -> float:
    """Gives the timeout that a body asks for, in seconds.

    Args:
        body: The request's body.
        least: The smallest that makes sense.

    Raises:
        ProtocolError: It is no number, or out of range.
    """
    timeout = body.get("timeout", DEFAULT_TIMEOUT)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise ProtocolError(400, "timeout must be a number of seconds")
    # NaN is in no range, and an integer may be too long for a float, or for a line.
    if not least <= timeout <= LONGEST_TIMEOUT:
        given = reprlib.repr(timeout)
        raise ProtocolError(400, f"timeout must be from {least} to {LONGEST_TIMEOUT} seconds, not {given}")
    return timeout


def _texts_in(body: Mapping[str, Any], name: str) -> dict[str, str]:
    value = body.get(name) or {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ProtocolError(400, f"{name} must be an object whose values are text")
    return value


def _network_in(body: Mapping[str, Any], *, secure: bool) -> dict[str, Any] | None:
    network = body.get("network")
    if network is None:
        return None
    if not isinstance(network, dict):
        raise ProtocolError(400, "network must be an object")
    if network.get("allowPublicTraffic") is False and not secure:
        raise ProtocolError(400, "private traffic needs a secure sandbox: set secure to true")
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
    envs = _texts_in(body, "envVars")
    if any("\0" in name + value or "=" in name or not name for name, value in envs.items()):
        raise ProtocolError(400, "the name of a variable must not be empty or hold '=', and neither part a NUL")
    return Creation(
        template=template,
        timeout=timeout_in(body),
        metadata=_texts_in(body, "metadata"),
        envs=envs,
        allow_internet_access=allow_internet_access,
        network=_network_in(body, secure=version > 1 or body.get("secure") is True),
    )
