"""The tables of the file: the one that `dbm.sqlite3` knows, and what stands beside it.

`Dict` is to the letter the table of `dbm.sqlite3` (Lib/dbm/sqlite3.py of Python 3.13), so that `dbm.open` and `shelve`
work on the file. `Entry` holds, for each key, what the mapping needs to let it expire and to evict it. Triggers keep
the two in step, whoever writes: a value stored by a foreign `dbm.open` gets its row too, as an entry that is kept.
`Total` is one row of sums, so that neither the size nor the counters ever need a scan. `Journal` takes what has to be
stored at once and read seldom: a row at its end costs one page where a key costs four.

There is no index by use or by end. Both would be written at each store and read only to evict, which happens in strokes
of a tenth of the space, and to sweep, which walks along the keys.
"""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """What becomes of an entry when space runs out; the lowest number above `KEPT` goes first."""

    KEPT = 0
    CACHE = 1
    RESULT = 2


TABLES = {
    "Dict": "CREATE {temporary} TABLE IF NOT EXISTS Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)",
    "Entry": """
        CREATE {temporary} TABLE IF NOT EXISTS Entry (
            key BLOB PRIMARY KEY, kind INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL,
            expires_at REAL, lifetime REAL, used_at REAL NOT NULL DEFAULT 0
        ) WITHOUT ROWID""",
    "Journal": """
        CREATE {temporary} TABLE IF NOT EXISTS Journal (
            id INTEGER PRIMARY KEY, owner BLOB NOT NULL, value BLOB NOT NULL, used BLOB, used_at REAL NOT NULL
        )""",
    "Total": """
        CREATE {temporary} TABLE IF NOT EXISTS Total (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            bytes INTEGER NOT NULL, hits INTEGER NOT NULL, misses INTEGER NOT NULL
        )""",
}
"""Each table's statement, to be formatted with `temporary`: empty, or `TEMP` beside a file that cannot be written."""

SCHEMA = (
    "INSERT OR IGNORE INTO Total VALUES (1, 0, 0, 0)",
    """
    CREATE TRIGGER IF NOT EXISTS DictInserted AFTER INSERT ON Dict BEGIN
        UPDATE Total SET bytes = bytes + length(new.key) + length(new.value)
            - coalesce((SELECT size FROM Entry WHERE key = new.key), 0);
        INSERT OR REPLACE INTO Entry (key, size) VALUES (new.key, length(new.key) + length(new.value));
    END""",
    """
    CREATE TRIGGER IF NOT EXISTS DictUpdated AFTER UPDATE ON Dict BEGIN
        UPDATE Total SET bytes = bytes + length(new.value) - length(old.value);
        UPDATE Entry SET size = length(new.key) + length(new.value) WHERE key = new.key;
    END""",
    """
    CREATE TRIGGER IF NOT EXISTS DictDeleted AFTER DELETE ON Dict BEGIN
        UPDATE Total SET bytes = bytes - length(old.key) - length(old.value);
        DELETE FROM Entry WHERE key = old.key;
    END""",
    # What a file made by `dbm.sqlite3` alone already holds.
    "INSERT OR IGNORE INTO Entry (key, size) SELECT key, length(key) + length(value) FROM Dict",
    "UPDATE Total SET bytes = (SELECT coalesce(sum(size), 0) FROM Entry)",
)
"""What follows the tables: the row of sums, the triggers, and the entries of what is already there."""

# An entry has expired when its time is over, and also when its end lies further ahead than its whole life: then the
# clock was set back since, and it would live for ever.
ALIVE = "(Entry.expires_at IS NULL OR (Entry.expires_at > :now AND Entry.expires_at <= :now + Entry.lifetime))"
JOINED = "FROM Dict LEFT JOIN Entry ON Entry.key = Dict.key"
