"""A mapping and a store in a directory of the test's own, on a clock that the test sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2b_magic.store import KeyValueStore, Store


@dataclass
class Clock:
    """A clock that stands until it is set."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        """Gives the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Gives a clock."""
    return Clock()


@pytest.fixture
def kv(tmp_path: Path, clock: Clock) -> Iterator[KeyValueStore]:
    """Gives a mapping on that clock."""
    with KeyValueStore(tmp_path / "store" / "store.db", clock=clock) as kv:
        yield kv


@pytest.fixture
def store(kv: KeyValueStore) -> Store:
    """Gives a store in that mapping."""
    return Store(kv)
