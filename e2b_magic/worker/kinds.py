"""Whether a request's fields hold what their annotations say."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal

from e2b_magic.exceptions import InvalidRequestError

_KINDS: dict[str, dict[str, Any]] = {}
_Check = Callable[[object], bool]
_CHECKS: dict[type, list[tuple[str, frozenset[type], _Check, Any]]] = {}


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
        checks = _CHECKS[type(request)] = [(name, _plain(kind), _check_of(kind), kind) for name, kind in kinds]
    for name, plain, fits, kind in checks:
        value = getattr(request, name)
        # The first look answers for nearly every field: a request is checked twice on its way, and each counts.
        if type(value) not in plain and not fits(value):
            raise InvalidRequestError(f"{request.type}: {name} must be {_kind_name(kind)}")


def _plain(kind: Any) -> frozenset[type]:
    """Gives the types whose every value is of a kind; none for one that asks for more than a type."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return frozenset().union(*map(_plain, typing.get_args(kind)))
    if kind is float:
        return frozenset({int, float})
    return frozenset({kind}) if kind in (str, bytes, int, bool, type(None)) else frozenset()


def _check_of(kind: Any) -> _Check:
    """Gives what says whether a value is of a kind."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType or origin is typing.Union:
        options = [_check_of(option) for option in arguments]
        return lambda value: any(fits(value) for fits in options)
    if origin is Literal:
        return lambda value: value in arguments
    if origin is dict:
        fits_item = _check_of(arguments[1])
        return lambda value: (
            isinstance(value, dict) and all(isinstance(name, str) and fits_item(item) for name, item in value.items())
        )
    if origin is list:
        fits_item = _check_of(arguments[0])
        return lambda value: isinstance(value, list) and all(map(fits_item, value))
    if kind in (int, float):
        number = (int, float) if kind is float else int
        return lambda value: isinstance(value, number) and not isinstance(value, bool)
    return lambda value: isinstance(value, kind)


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
        return "a list of byte strings" if arguments == (bytes,) else "a list of strings"
    return "a mapping of strings to strings" if origin is dict else names.get(kind, str(kind))
