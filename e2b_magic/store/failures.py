"""SQLite's result codes, sorted: another process is busy, the file is damaged, it cannot be written."""

from __future__ import annotations

import sqlite3

BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
REFUSED = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
)


def code_of(error: BaseException) -> int:
    """Gives SQLite's primary result code (https://sqlite.org/rescode.html); 0 for what SQLite did not raise."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
