"""Whether a request's fields hold what their annotations say."""

from __future__ import annotations

import types
import typing
from dataclasses import fields
from typing import Any, Literal

from e2b_magic.exceptions import InvalidRequestError

_KINDS: dict[str, dict[str, Any]] = {}


def kinds_of(request: Any) -> dict[str, Any]:
    """Gives the kind of each field of a request class; kept, since annotations are slow to read."""
    name = request.__qualname__
    if name not in _KINDS:
        hints = typing.get_type_hints(request)
        _KINDS[name] = {entry.name: hints[entry.name] for entry in fields(request)}
    return _KINDS[name]


def check_kinds(request: Any) -> None:
    """Refuses a request whose fields hold something else than they should.

    Raises:
        InvalidRequestError: One does; the message names it and what it must be.
    """
    for name, kind in kinds_of(type(request)).items():
        if not _fits(getattr(request, name), kind):
            raise InvalidRequestError(f"{request.type}: {name} must be {_kind_name(kind)}")


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
