"""Who calls an envd service, and for how long: what E2B's clients put into a request's headers."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext

DEFAULT_USER = "user"
# Seconds between signs of life on a silent stream, where the client names no other (E2B's figure).
DEFAULT_KEEPALIVE = 90.0


def user_of(context: RequestContext[Any, Any]) -> str:
    """Gives the sandbox user that a call is made as: HTTP Basic with a user and no password, or nothing at all.

    Raises:
        ConnectError: The header cannot be read.
    """
    header = context.request_headers.get("authorization", "")
    if not header:
        return DEFAULT_USER
    scheme, _, encoded = header.partition(" ")
    try:
        name = base64.b64decode(encoded, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        name = ""
    if scheme.lower() != "basic" or not name:
        raise ConnectError(Code.UNAUTHENTICATED, "the Authorization header must be Basic with a user's name")
    return name


def keepalive_of(context: RequestContext[Any, Any]) -> float:
    """Gives the seconds after which a silent stream needs a sign of life."""
    try:
        seconds = float(context.request_headers.get("keepalive-ping-interval", ""))
    except ValueError:
        return DEFAULT_KEEPALIVE
    return seconds if 0 < seconds < float("inf") else DEFAULT_KEEPALIVE


def timeout_of(context: RequestContext[Any, Any]) -> float | None:
    """Gives the seconds that are left of the call's `Connect-Timeout-Ms`; None for no limit."""
    return None if context.timeout_ms is None else context.timeout_ms / 1000
