"""Checking a request that came as JSON: every slip is named in one line, with what would be right."""

from __future__ import annotations

from collections.abc import KeysView
from dataclasses import MISSING, dataclass, fields
from functools import cache

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.worker.kinds import kinds_of
from e2b_magic.worker.protocol import binary
from e2b_magic.worker.requests import REQUESTS, Request


@dataclass(frozen=True, slots=True)
class _Shape:
    """The names of a request's fields: all of them, those without a default, those that hold bytes or chunks."""

    all: KeysView[str]
    needed: frozenset[str]
    binary: tuple[str, ...]


@cache
def _shape_of(kind: str) -> _Shape:
    request = REQUESTS[kind]
    kinds = kinds_of(request)
    needed = {entry.name for entry in fields(request) if entry.default is entry.default_factory is MISSING}
    binary = tuple(name for name, held in kinds.items() if held in (bytes, list[bytes]))
    return _Shape(kinds.keys(), frozenset(needed), binary)


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
    shape = _shape_of(kind)
    if not values.keys() <= shape.all:
        unknown = sorted(map(str, values.keys() - shape.all))
        raise InvalidRequestError(f"{kind} does not take {', '.join(unknown)}: it takes {', '.join(shape.all)}")
    if not shape.needed <= values.keys():
        raise InvalidRequestError(f"{kind} needs {', '.join(sorted(shape.needed - values.keys()))}")
    for name in shape.binary:
        value = values[name]
        values[name] = [binary(chunk) for chunk in value] if isinstance(value, list) else binary(value)
    return REQUESTS[kind](**values)
