"""Checking a request that came as JSON: every slip is named in one line, with what would be right."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, Literal

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.worker.protocol import REQUESTS, Request


@cache
def _field_types(kind: str) -> dict[str, Any]:
    hints = typing.get_type_hints(REQUESTS[kind])
    return {entry.name: hints[entry.name] for entry in fields(REQUESTS[kind])}


def _fits(value: object, kind: Any) -> bool:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType or origin is typing.Union:
        return any(_fits(value, option) for option in arguments)
    if origin is Literal:
        return value in arguments
    if origin is dict:
        return isinstance(value, dict) and all(
            isinstance(name, str) and _fits(item, arguments[1]) for name, item in value.items()
        )
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _kind_name(kind: Any) -> str:
    names = {str: "a string", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType or origin is typing.Union:
        return " or ".join(map(_kind_name, arguments))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    return "a mapping of strings to strings" if origin is dict else names.get(kind, str(kind))


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
    request, expected = REQUESTS[kind], _field_types(kind)
    if unknown := sorted(map(str, values.keys() - expected.keys())):
        raise InvalidRequestError(f"{kind} does not take {', '.join(unknown)}: it takes {', '.join(expected)}")
    for name, value in values.items():
        if not _fits(value, expected[name]):
            raise InvalidRequestError(f"{kind}: {name} must be {_kind_name(expected[name])}")
    needed = {entry.name for entry in fields(request) if entry.default is entry.default_factory is MISSING}
    if missing := sorted(needed - values.keys()):
        raise InvalidRequestError(f"{kind} needs {', '.join(missing)}")
    return request(**values)
