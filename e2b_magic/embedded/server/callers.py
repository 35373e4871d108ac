"""Who calls an envd service, for how long, and whether they are still there."""

from __future__ import annotations

import asyncio
import base64
import binascii
from contextvars import ContextVar
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from starlette.types import Message, Receive

DEFAULT_USER = "user"
# Seconds between signs of life on a silent stream, where the client names no other (E2B's figure).
DEFAULT_KEEPALIVE = 90.0
# Of the request that the running task answers.
_left: ContextVar[asyncio.Event] = ContextVar("client left")


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


def observed(receive: Receive) -> Receive:
    """Gives a `receive` that notes when the client leaves, for `client_left`.

    connectrpc looks for that only when the service has something to say, which of a silent stream may be never.
    """
    left = asyncio.Event()
    _left.set(left)

    async def receive_and_note() -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            left.set()
        return message

    return receive_and_note


def client_left() -> asyncio.Event:
    """Gives what is set when the client of the request that is being answered has left."""
    return _left.get()
