"""What every record stands on: its way to JSON and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Self


class Record:
    """Gives a frozen dataclass its way to JSON and back."""

    def to_json(self) -> dict[str, Any]:
        """Gives a mapping of JSON values."""
        # Not asdict: it copies deeply what is immutable here, and takes ten times as long.
        return {name: getattr(self, name) for name in _names(type(self))}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Gives the record back; unknown names are passed over, so that a newer version's file opens.

        Raises:
            TypeError: A name without a default is missing.
        """
        known = _names(cls)
        return cls(**{name: value for name, value in data.items() if name in known})


_NAMES: dict[type[Record], dict[str, None]] = {}


def _names(kind: Any) -> dict[str, None]:
    """Gives the names of a record's fields in their order; kept, since `fields` takes longer than all the rest."""
    if kind not in _NAMES:
        _NAMES[kind] = {one.name: None for one in fields(kind) if one.name != "runner"}
    return _NAMES[kind]
