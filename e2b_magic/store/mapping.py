"""The file as a mapping of bytes to bytes, with expiry, eviction by space, and pages of keys with a prefix."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from e2b_magic.store.connection import Connection
from e2b_magic.store.schema import ALIVE, JOINED, Kind

T = TypeVar("T")

SPACE = 256 * 1024 * 1024
"""The size limit unless another is given, in bytes of keys and values."""
# Cast, since another program may have stored text or a number.
_VALUE = "CAST(Dict.value AS BLOB)"
_READ = f"SELECT {_VALUE}, Entry.expires_at {JOINED} WHERE Dict.key = :key AND {ALIVE}"
_SWEEP_EVERY = 64  # writes between two looks for expired entries


def _bytes(text: str | bytes) -> bytes:
    if isinstance(text, str):
        return text.encode()
    if isinstance(text, bytes | bytearray | memoryview):  # not `bytes(3)`, which is three zeros
        return bytes(text)
    raise TypeError(f"Keys and values are bytes or str, not {type(text).__name__}")


def _after(prefix: bytes) -> bytes | None:
    """Gives the first key that comes after every key with a prefix; None when there is no such key."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's value, its size with the key in bytes, since when it lives and when it expires (None: for good)."""

    value: bytes
    size: int
    since: float | None
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Totals:
    """The file's sums: bytes of keys and values, and how often the cache was hit and missed."""

    bytes: int
    hits: int
    misses: int


class KeyValueStore(MutableMapping[bytes, bytes]):
    """A mapping in a file, safe between threads and processes.

    Keys and values may be given as text, which is encoded as UTF-8, as `dbm` does.

    Args:
        path: The file, made when first used; its directory too.
        space: The size limit, in bytes; above it cache entries go, least recently used first, then the oldest results.
            Entries without a kind are kept.
        busy_timeout: How long to wait for another process, in seconds.
        clock: Gives the time in seconds since the epoch.

    Raises:
        StoreError: By every method, when the file cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        *,
        space: int = SPACE,
        busy_timeout: float = 10,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.space = space
        self._connection = Connection(path, busy_timeout)
        self._clock = clock
        self._writes = 0
        self._swept = b""

    def __repr__(self) -> str:
        return f"<KeyValueStore {str(self.path)!r}>"

    def transaction(self, steps: Callable[[], T], patience: float | None = None) -> T:
        """Gives what several reads and writes give that happen as one, or not at all.

        Args:
            steps: Makes them, by this mapping's methods.
            patience: How long to wait for another process, in seconds; the busy timeout when None.
        """
        return self._connection.write(lambda _: steps(), patience)

    def state(self) -> tuple[int, int]:
        """Gives a value that stays the same as long as nobody has changed a key; expiry is not a change."""
        return self._connection.state()

    def read(self, key: str | bytes) -> tuple[bytes, float] | None:
        """Gives a value and when it expires, in seconds since the epoch; None when there is none, or not any more."""
        asked = {"key": _bytes(key), "now": self._clock()}
        row = self._connection.read(lambda raw: raw.execute(_READ, asked).fetchone())
        return None if row is None else (bytes(row[0]), float("inf") if row[1] is None else row[1])

    def __getitem__(self, key: str | bytes) -> bytes:
        found = self.read(key)
        if found is None:
            raise KeyError(key)
        return found[0]

    def __setitem__(self, key: str | bytes, value: str | bytes) -> None:
        self.set(key, value)

    def set(
        self,
        key: str | bytes,
        value: str | bytes,
        *,
        kind: Kind = Kind.KEPT,
        lifetime: float | None = None,
        at: float | None = None,
    ) -> None:
        """Stores a value.

        Args:
            key: The key.
            value: The value.
            kind: What becomes of it when space runs out.
            lifetime: How long it lives, in seconds; for good when None.
            at: Since when it lives, in seconds since the epoch; since now when None.
        """
        name, now = _bytes(key), self._clock() if at is None else at
        stored = _bytes(value)

        def put(raw: sqlite3.Connection) -> None:
            raw.execute("REPLACE INTO Dict (key, value) VALUES (?, ?)", (name, stored))
            if kind is not Kind.KEPT or lifetime is not None:
                ends = None if lifetime is None else now + lifetime
                raw.execute(
                    "UPDATE Entry SET kind = ?, expires_at = ?, lifetime = ?, used_at = ? WHERE key = ?",
                    (int(kind), ends, lifetime, now, name),
                )
            self._make_room(raw)

        self._connection.write(put)

    def __delitem__(self, key: str | bytes) -> None:
        if not self.discard(key):
            raise KeyError(key)

    def __iter__(self) -> Iterator[bytes]:
        after = b""
        first = True
        while page := self._keys(after, inclusive=first):
            yield from page
            after, first = page[-1], False

    def _keys(self, after: bytes, *, inclusive: bool) -> list[bytes]:
        # In pages, each a transaction of its own: an iteration that somebody leaves unfinished holds nothing up.
        rows = self._rows(
            f"SELECT Dict.key {JOINED} WHERE Dict.key {'>=' if inclusive else '>'} :after AND {ALIVE} "
            "ORDER BY Dict.key LIMIT 500",
            {"after": after, "now": self._clock()},
        )
        return [bytes(row[0]) for row in rows]

    def __len__(self) -> int:
        ((count,),) = self._rows(f"SELECT count(*) {JOINED} WHERE {ALIVE}", {"now": self._clock()})
        return int(count)

    def _rows(self, question: str, asked: Mapping[str, object] | tuple[object, ...] = ()) -> list[Any]:
        return self._connection.read(lambda raw: raw.execute(question, asked).fetchall())

    def discard(self, key: str | bytes) -> bool:
        """Deletes a key, if it is there; says whether it was."""
        return self._delete("DELETE FROM Dict WHERE key = ?", (_bytes(key),)) > 0

    def _delete(self, deletion: str, values: tuple[bytes, ...]) -> int:
        return self._connection.write(lambda raw: raw.execute(deletion, values).rowcount)

    def page(
        self,
        prefix: str | bytes,
        *,
        limit: int = 100,
        after: str | bytes | None = None,
        before: str | bytes | None = None,
        reverse: bool = False,
    ) -> list[tuple[bytes, bytes]]:
        """Gives keys with a prefix and their values, in the order of the keys: a range of the index, not a scan.

        Args:
            prefix: What the keys begin with.
            limit: How many at most.
            after: Only keys greater than this one.
            before: Only keys smaller than this one.
            reverse: From the last to the first.
        """
        stem = _bytes(prefix)
        bounds = {
            "first": stem,
            "end": _after(stem),
            "after": after and _bytes(after),
            "before": before and _bytes(before),
        }
        conditions = ["Dict.key >= :first", ALIVE]
        conditions += ["Dict.key < :end"] if bounds["end"] is not None else []
        conditions += ["Dict.key > :after"] if after is not None else []
        conditions += ["Dict.key < :before"] if before is not None else []
        rows = self._rows(
            f"SELECT Dict.key, {_VALUE} {JOINED} WHERE {' AND '.join(conditions)} "
            f"ORDER BY Dict.key {'DESC' if reverse else 'ASC'} LIMIT :limit",
            {**bounds, "now": self._clock(), "limit": limit},
        )
        return [(bytes(key), bytes(value)) for key, value in rows]

    def newest(self, prefix: str | bytes, limit: int | None = None) -> list[Entry]:
        """Gives what lies under keys with a prefix, the newest first: a walk over all of them, for a human to look at.

        Args:
            prefix: What the keys begin with.
            limit: How many at most.
        """
        stem = _bytes(prefix)
        rows = self._rows(
            f"SELECT {_VALUE}, Entry.size, Entry.expires_at - Entry.lifetime, Entry.expires_at {JOINED} "
            f"WHERE Dict.key >= :first AND (:end IS NULL OR Dict.key < :end) AND {ALIVE} "
            "ORDER BY 3 DESC, Dict.key LIMIT :limit",
            {"first": stem, "end": _after(stem), "now": self._clock(), "limit": -1 if limit is None else limit},
        )
        return [Entry(bytes(value), size, since, ends) for value, size, since, ends in rows]

    def size_of(self, key: str | bytes) -> int:
        """Gives the bytes that a key and its value take; 0 when there is none."""
        rows = self._rows("SELECT size FROM Entry WHERE key = ?", (_bytes(key),))
        return int(rows[0][0]) if rows else 0

    def delete_prefix(self, prefix: str | bytes) -> int:
        """Deletes every key with a prefix and gives their number."""
        stem = _bytes(prefix)
        end = _after(stem)
        if end is None:
            return self._delete("DELETE FROM Dict WHERE key >= ?", (stem,))
        return self._delete("DELETE FROM Dict WHERE key >= ? AND key < ?", (stem, end))

    def change(self, key: str | bytes, change: Callable[[bytes | None], bytes]) -> bytes:
        """Reads, changes and writes a value as one step, whoever else does the same; gives the new value."""

        def replace() -> bytes:
            value = change(self.get(_bytes(key)))
            self.set(key, value)
            return value

        return self.transaction(replace)

    def journal(self, owner: bytes, value: bytes, used: bytes | None = None) -> None:
        """Stores, as cheaply as can be, a value that `take_journal` gives later.

        Args:
            owner: Who will take it.
            value: The value.
            used: A key that was used just now: a hit of the cache.
        """
        self._connection.append(
            "INSERT INTO Journal (owner, value, used, used_at) VALUES (?, ?, ?, ?)", (owner, value, used, self._clock())
        )

    def take_journal(self, owner: bytes) -> list[tuple[bytes, float]]:
        """Gives an owner's values and when each was stored, oldest first, and takes them out.

        Call it in the transaction that stores them anew.

        The uses that came with them are entered, and counted as hits.
        """

        def take(raw: sqlite3.Connection) -> list[tuple[bytes, float]]:
            rows = raw.execute(
                "SELECT value, used, used_at FROM Journal WHERE owner = ? ORDER BY id", (owner,)
            ).fetchall()
            uses = [(at, used) for _, used, at in rows if used is not None]
            raw.executemany("UPDATE Entry SET used_at = ? WHERE key = ?", uses)
            raw.execute("UPDATE Total SET hits = hits + ?", (len(uses),))
            raw.execute("DELETE FROM Journal WHERE owner = ?", (owner,))
            return [(bytes(value), at) for value, _, at in rows]

        return self._connection.write(take)

    def read_journal(self, owner: bytes) -> list[bytes]:
        """Gives an owner's values, oldest first, and leaves them where they are."""
        rows = self._rows("SELECT value FROM Journal WHERE owner = ? ORDER BY id", (owner,))
        return [bytes(row[0]) for row in rows]

    def journal_is_empty(self) -> bool:
        """Whether nobody has anything to take from the journal."""
        return not self._rows("SELECT 1 FROM Journal LIMIT 1")

    @property
    def now(self) -> float:
        """The time on the mapping's clock, in seconds since the epoch."""
        return self._clock()

    def missed(self) -> None:
        """Counts a miss of the cache, and waits for nobody to do so."""
        self._connection.write(lambda raw: raw.execute("UPDATE Total SET misses = misses + 1"), patience=0)

    def totals(self) -> Totals:
        """Gives the file's sums."""
        return Totals(*self._rows("SELECT bytes, hits, misses FROM Total")[0])

    def check(self) -> list[str]:
        """Gives what is wrong with the file, one line each; nothing is the right answer."""

        def look(raw: sqlite3.Connection) -> list[str]:
            said = [row[0] for row in raw.execute("PRAGMA integrity_check") if row[0] != "ok"]
            questions: dict[str, str] = {
                "values without an entry": "SELECT count(*) FROM Dict WHERE key NOT IN (SELECT key FROM Entry)",
                "entries without a value": "SELECT count(*) FROM Entry WHERE key NOT IN (SELECT key FROM Dict)",
                "entries of a wrong size": "SELECT count(*) FROM Dict JOIN Entry USING (key) "
                "WHERE size <> length(Dict.key) + length(value)",
                "bytes off in the total": "SELECT abs(bytes - (SELECT coalesce(sum(size), 0) FROM Entry)) FROM Total",
            }
            counts: dict[str, Any] = {name: raw.execute(sql).fetchone()[0] for name, sql in questions.items()}
            return said + [f"{count} {name}" for name, count in counts.items() if count]

        return self._connection.read(look)

    def sync(self) -> None:
        """Does nothing: every write is committed; `shelve` calls it."""

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make_room(self, raw: sqlite3.Connection) -> None:
        self._writes += 1
        if self._writes % _SWEEP_EVERY == 0:
            self._sweep(raw, self._clock())
        (held,) = raw.execute("SELECT bytes FROM Total").fetchone()
        if held > self.space:
            self._evict(raw, held - self.space * 9 // 10)

    def _sweep(self, raw: sqlite3.Connection, now: float) -> None:
        """Looks at the next few keys, round and round, and deletes those that have expired."""
        rows = raw.execute(
            "SELECT key, expires_at <= :now OR expires_at > :now + lifetime FROM Entry WHERE key > :after "
            "ORDER BY key LIMIT :count",
            {"now": now, "after": self._swept, "count": 4 * _SWEEP_EVERY},
        ).fetchall()
        self._swept = rows[-1][0] if rows else b""
        raw.executemany("DELETE FROM Dict WHERE key = ?", [(key,) for key, expired in rows if expired])

    def _evict(self, raw: sqlite3.Connection, excess: int) -> None:
        gone: list[tuple[bytes]] = []
        for key, size in raw.execute("SELECT key, size FROM Entry WHERE kind > 0 ORDER BY kind, used_at"):
            if excess <= 0:
                break
            gone.append((key,))
            excess -= size
        raw.executemany("DELETE FROM Dict WHERE key = ?", gone)
