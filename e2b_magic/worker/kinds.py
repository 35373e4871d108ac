"""Whether a request's fields hold what their annotations say."""

from __future__ import annotations

import types
import typing
from dataclasses import fields
from typing import Any, Literal

from e2b_magic.exceptions import InvalidRequestError

_KINDS: dict[str, dict[str, Any]] = {}
_CHECKS: dict[type, list[tuple[str, frozenset[type], Any]]] = {}


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
    checks = _CHECKS.get(type(request))
    if checks is None:
        kinds = kinds_of(type(request)).items()
        checks = _CHECKS[type(request)] = [(name, _plain(kind), kind) for name, kind in kinds]
    for name, plain, kind in checks:
        value = getattr(request, name)
        # The first look answers for nearly every field: a request is checked twice on its way, and each counts.
        if type(value) not in plain and not _fits(value, kind):
            raise InvalidRequestError(f"{request.type}: {name} must be {_kind_name(kind)}")


def _plain(kind: Any) -> frozenset[type]:
    """Gives the types whose every value is of a kind; none for one that asks for more than a type."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return frozenset().union(*map(_plain, typing.get_args(kind)))
    if kind is float:
        return frozenset({int, float})
    return frozenset({kind}) if kind in (str, bytes, int, bool, type(None)) else frozenset()


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
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _kind_name(kind: Any) -> str:
    names = {
        str: "a string",
        bytes: "bytes",
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        type(None): "null",
    }
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType or origin is typing.Union:
        return " or ".join(map(_kind_name, arguments))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin is list:
        return "a list of strings"
    return "a mapping of strings to strings" if origin is dict else names.get(kind, str(kind))
