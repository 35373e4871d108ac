"""Checking a request that came as JSON: every slip is named in one line, with what would be right."""

from __future__ import annotations

from dataclasses import MISSING, fields

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.worker.kinds import kinds_of
from e2b_magic.worker.protocol import binary
from e2b_magic.worker.requests import REQUESTS, Request


def parse_request(payload: object) -> Request:
    """Gives the typed request that a mapping of JSON values stands for.

    Raises:
        InvalidRequestError: Its type is unknown, a field is missing, unknown or of the wrong kind.
    """
    if not isinstance(payload, dict):
        raise InvalidRequestError("A request must be a JSON object with a `type`")
    values = dict(payload)
    kind = values.pop("type", None)
    if not isinstance(kind, str) or kind not in REQUESTS:
        raise InvalidRequestError(f"Unknown request type {kind!r}: use one of {', '.join(sorted(REQUESTS))}")
    request = REQUESTS[kind]
    expected = kinds_of(request)
    if unknown := sorted(map(str, values.keys() - expected.keys())):
        raise InvalidRequestError(f"{kind} does not take {', '.join(unknown)}: it takes {', '.join(expected)}")
    needed = {entry.name for entry in fields(request) if entry.default is entry.default_factory is MISSING}
    if missing := sorted(needed - values.keys()):
        raise InvalidRequestError(f"{kind} needs {', '.join(missing)}")
    for name, kind in expected.items():
        if kind is bytes:
            values[name] = binary(values[name])
    return request(**values)
