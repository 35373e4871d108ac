"""The bodies of the control routes, read, and the values in them that several routes take."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from e2b_magic.embedded.server.protocol_errors import ProtocolError

DEFAULT_TIMEOUT = 300
# A day, the longest that E2B grants on any plan.
LONGEST_TIMEOUT = 24 * 60 * 60
_LARGEST_BODY = 1024 * 1024


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


def texts_in(body: Mapping[str, Any], name: str) -> dict[str, str]:
    """Gives an object of texts in a body, an empty one where there is none.

    Raises:
        ProtocolError: It is something else.
    """
    value = body.get(name) or {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ProtocolError(400, f"{name} must be an object whose values are text")
    return value


def flag_in(body: Mapping[str, Any], name: str, *, otherwise: bool) -> bool:
    """Gives a truth value in a body.

    Args:
        body: The request's body, or an object in it.
        name: What it is called there.
        otherwise: What it is where it is missing, or null.

    Raises:
        ProtocolError: It is something else.
    """
    value = body.get(name)
    if value is None:
        return otherwise
    if not isinstance(value, bool):
        raise ProtocolError(400, f"{name} must be true or false")
    return value
