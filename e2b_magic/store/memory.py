"""Records read a moment ago, given again as long as nobody has changed the file since."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from e2b_magic.store.mapping import KeyValueStore

T = TypeVar("T")
_MOST = 64


class Memory:
    """Spares the reading and decoding of what is asked for over and over: the current project, a cached result.

    It asks SQLite whether the file has changed, which costs a fraction of a read, so that what another process has
    written or cleared is seen at once.

    Args:
        kv: The file.
    """

    def __init__(self, kv: KeyValueStore) -> None:
        self._kv = kv
        # One attribute: another thread must not see a new state with old records.
        self._held: tuple[tuple[int, int] | None, dict[bytes, tuple[Any, float]]] = (None, {})

    def get(self, key: bytes, load: Callable[[bytes], tuple[T, float] | None]) -> T | None:
        """Gives the record under a key; None when there is none, or not any more.

        Args:
            key: The key.
            load: Reads the record and when it expires, in seconds since the epoch.
        """
        state = self._kv.state()
        known, records = self._held
        if state != known or len(records) > _MOST:
            # A dict of this state alone: a thread that has loaded slowly must not put an old record among newer ones.
            records = {}
            self._held = state, records
        held = records.get(key)
        if held is None or held[1] <= self._kv.now:
            held = load(key)
            if held is None:
                return None
            records[key] = held
        record: T = held[0]
        return record
