"""Values are JSON, never pickles: to open a store must not run what is in it. What is no record is passed over."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from e2b_magic.records import BackgroundJob, ExecutionResult, Project

T = TypeVar("T")
_EXECUTION_TEXTS = ("id", "project", "command", "stdout", "stderr")

# Made once: `json.dumps` makes an encoder for each call that asks for anything but its defaults. Escaped to ASCII:
# output may hold lone surrogates, which UTF-8 does not take.
_to_text = json.JSONEncoder(separators=(",", ":")).encode


def encode(data: dict[str, Any]) -> bytes:
    """Gives the value that holds some data."""
    return _to_text(data).encode()


def decode(value: bytes | None, make: Callable[[dict[str, Any]], T]) -> T | None:
    """Gives what a value holds; None when there is no value, or another program wrote something else.

    Args:
        value: The value.
        make: Makes it from the JSON object.
    """
    if value is None:
        return None
    try:
        data = json.loads(value)
        return make(data) if isinstance(data, dict) else None
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
        return None


def as_it_is(data: dict[str, Any]) -> dict[str, Any]:
    """Gives the JSON object itself, where that is what is wanted of `decode`."""
    return data


def execution(data: dict[str, Any]) -> ExecutionResult:
    """Makes an execution.

    Raises:
        TypeError: A field is missing or of another type.
        ValueError: Its status is none.
    """
    record = ExecutionResult.from_json(data)
    for name in _EXECUTION_TEXTS:
        _expect(getattr(record, name), str)
    _expect(record.started_at, int | float)
    _expect(record.duration, int | float)
    return record


def execution_data(data: dict[str, Any]) -> dict[str, Any]:
    """Gives the JSON object itself, when an execution can be made of it.

    Raises:
        TypeError: A field is missing or of another type.
        ValueError: Its status is none.
    """
    execution(data)
    return data


def project(data: dict[str, Any]) -> Project:
    """Makes a project.

    Raises:
        TypeError: A field is missing or of another type.
    """
    record = Project.from_json(data)
    for text in (record.name, record.template, record.sandbox_id, record.backend, record.path):
        _expect(text, str)
    _expect(record.revision, int)
    _expect(record.sandbox_timeout, int)
    _expect(record.sandbox_expires_at, int | float)
    return record


def background_job(data: dict[str, Any]) -> BackgroundJob:
    """Makes a background job.

    Raises:
        TypeError: A field is missing or of another type.
        ValueError: Its state is none.
    """
    record = BackgroundJob.from_json(data)
    for text in (record.id, record.project, record.command, record.sandbox_id, record.backend):
        _expect(text, str)
    _expect(record.port, int | None)
    _expect(record.started_at, int | float)
    return record


def _expect(value: object, kind: Any) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"a value is of type {type(value).__name__}")
