"""The language between a client and a worker: requests go in, events come while the work goes on, an envelope ends it.

A request is a mapping with a `type` and the fields of one of the dataclasses in `worker.requests`;
`worker.validation` checks one and gives the dataclass. While the work goes on the worker emits events: `Output`,
`Progress`, `Attached`. It ends with one envelope: `{"success": true, "data": …, "timestamp": …}` or `{"success":
false, "error": …, "code": …, "timestamp": …}`, where `code` is that of a class in `e2b_magic.exceptions` and
`timestamp` counts milliseconds. All of it is JSON, so the same words travel in a process and over HTTP (events as
lines of NDJSON), but for the `bytes` of a transfer: they stay what they are in a process, where base64 would cost more
than the transfer, and are base64 over HTTP (`json_default` writes it, `binary` reads both).
"""

from __future__ import annotations

import base64
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from e2b_magic.exceptions import E2BMagicError, InvalidRequestError, from_code


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of a command's output, in the order it came; `stream` is `stdout` or `stderr`."""

    stream: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """A line on how the work gets on, or on something a user should know, such as a sandbox made anew."""

    text: str


@dataclass(frozen=True, slots=True)
class Attached:
    """The sandbox that the work goes on in.

    Attributes:
        sandbox_id: Its id.
        backend: `embedded`, or the E2B domain.
        expires_at: When it ends unless extended, in seconds since the epoch.
        created: Whether it was made for this request.
    """

    sandbox_id: str
    backend: str
    expires_at: float
    created: bool


Event = Output | Progress | Attached
Emit = Callable[[Event], Awaitable[None]]


async def ignore(event: Event) -> None:
    """An `Emit` for callers who want the envelope alone."""


_EVENTS: dict[str, type[Output | Progress | Attached]] = {"output": Output, "progress": Progress, "attached": Attached}


def event_to_json(event: Event) -> dict[str, Any]:
    """Gives the mapping of one NDJSON line."""
    return {"event": type(event).__name__.lower(), **asdict(event)}


def event_from_json(data: dict[str, Any]) -> Event:
    """Gives the event back that `event_to_json` wrote."""
    values = dict(data)
    return _EVENTS[values.pop("event")](**values)


Envelope = dict[str, Any]

ALIVE = "alive"
"""The `event` of a line of NDJSON that says only that the connection and the work live."""
END = "end"
"""The `event` of the last line, whose `envelope` is the answer."""
REQUEST_ID = "E2B-Magic-Request"
"""The header in which a client names a request, so that it can cancel it."""


def success(data: dict[str, Any]) -> Envelope:
    """Gives the envelope of work that was done."""
    return {"success": True, "data": data, "timestamp": int(time.time() * 1000)}


def failure(error: E2BMagicError) -> Envelope:
    """Gives the envelope of work that failed; only the error's code and one line of text travel."""
    return {"success": False, "error": str(error), "code": error.code, "timestamp": int(time.time() * 1000)}


def unwrap(envelope: Envelope) -> dict[str, Any]:
    """Gives an envelope's data.

    Raises:
        E2BMagicError: The class that the envelope's error code stands for.
    """
    if envelope["success"]:
        data: dict[str, Any] = envelope["data"]
        return data
    raise from_code(envelope["code"], envelope["error"])


def json_default(value: object) -> str:
    """Gives bytes as base64: the `default` with which `json.dumps` writes what travels over HTTP.

    Raises:
        TypeError: It is something else, which nothing that travels may hold.
    """
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} does not travel")


def binary(value: object) -> bytes:
    """Gives the bytes of a field that holds them as they are, or in base64.

    Raises:
        InvalidRequestError: It holds neither.
    """
    if isinstance(value, bytes):
        return value
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except ValueError:
        pass
    raise InvalidRequestError("a piece of a transfer must be in base64")
