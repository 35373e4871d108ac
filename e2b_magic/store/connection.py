"""One connection to the file: opened when first used, opened anew after a fork, the damaged file set aside.

Everything that SQLite raises leaves here as a `StoreError`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2b_magic.exceptions import StoreBusyError, StoreError
from e2b_magic.store.schema import SCHEMA

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Connection:
    """Gives cursors on the file, inside transactions, one thread at a time.

    Args:
        path: The file; its directory is made when missing.
        busy_timeout: How long to wait for another process's transaction, in seconds.
    """

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self.path = path
        self._busy_timeout = busy_timeout
        self._lock = threading.RLock()
        self._raw: sqlite3.Connection | None = None
        self._process = 0
        self._commits = 0
        self._closed = False
        self._inherited: list[sqlite3.Connection] = []

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Gives the connection, outside any transaction of its own.

        Raises:
            StoreError: The file cannot be read.
        """
        with self._lock, self._translated():
            yield self._open()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Gives the connection inside a transaction that is committed at the end, or undone on an error.

        Raises:
            StoreError: The file cannot be written.
            StoreBusyError: Another process held it for longer than the timeout.
        """
        with self._lock, self._translated():
            raw = self._open()
            if raw.in_transaction:  # a verb that is made of others
                yield raw
                return
            raw.execute("BEGIN IMMEDIATE")
            try:
                yield raw
            except BaseException:
                if raw.in_transaction:  # SQLite undoes it by itself on a full disk
                    raw.execute("ROLLBACK")
                raise
            raw.execute("COMMIT")
            self._commits += 1

    def state(self) -> tuple[int, int]:
        """Gives a value that stays the same as long as nobody, here or elsewhere, has changed `Dict`.

        Raises:
            StoreError: The file cannot be read.
        """
        with self._lock:
            try:
                # SQLite's data_version changes with the commits of all other connections; ours are counted here.
                return self._open().execute("PRAGMA data_version").fetchone()[0], self._commits
            except (sqlite3.Error, OSError) as error:
                raise self._as_store_error(error) from error

    def append(self, statement: str, values: tuple[object, ...]) -> None:
        """Runs one INSERT that does not touch `Dict`, as a transaction of its own and as cheaply as can be.

        Raises:
            StoreError: The file cannot be written.
        """
        with self._lock:
            try:
                self._open().execute(statement, values)
            except (sqlite3.Error, OSError) as error:
                raise self._as_store_error(error) from error

    def close(self) -> None:
        """Closes the connection for good."""
        with self._lock:
            self._closed = True
            self._drop()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._as_store_error(error) from error

    def _as_store_error(self, error: Exception) -> StoreError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _BUSY:
            return StoreBusyError(f"Another process has held {self.path} for {self._busy_timeout:g} s: try again")
        if code in _DAMAGED:
            self._set_aside()
        return StoreError(f"{self.path}: {error}")

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreError(f"{self.path}: the store is closed")
        if self._raw is not None and self._process == os.getpid():
            return self._raw
        if self._raw is not None:
            # After a fork. The parent's is kept and never touched: to close it would drop the parent's locks.
            self._inherited.append(self._raw)
        self._raw, self._process = self._connect(), os.getpid()
        self._commits += 1  # another connection's data_version means nothing to this one's
        return self._raw

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made here and not by SQLite, whose file would be as open as the umask; -wal and -shm take after it.
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        raw = sqlite3.connect(self.path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False)
        try:
            (mode,) = raw.execute("PRAGMA journal_mode = WAL").fetchone()
            # NORMAL does not wait for the disk at each commit: what a power cut may cost is the last transactions,
            # never the file, and a killed process costs nothing. Without WAL that would not hold: then FULL.
            raw.execute(f"PRAGMA synchronous = {'NORMAL' if mode == 'wal' else 'FULL'}")
            if raw.execute("SELECT count(*) FROM sqlite_master WHERE name = 'DictDeleted'").fetchone() == (0,):
                raw.executescript(f"BEGIN IMMEDIATE; {SCHEMA} {_ADOPT} COMMIT;")
        except sqlite3.Error as error:
            raw.close()
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
                raise
            self._set_aside()
            return self._connect()
        return raw

    def _set_aside(self) -> None:
        """Moves a damaged file out of the way, unless another process has done so already."""
        self._drop()
        aside = self.path.with_name(f"{self.path.name}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}")
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        warnings.warn(
            f"The store {self.path} was damaged: it is set aside as {aside.name}, and a new one begun", stacklevel=2
        )

    def _drop(self) -> None:
        if self._raw is not None and self._process == os.getpid():
            self._raw.close()
        self._raw = None


# What a file made by `dbm.sqlite3` alone already holds.
_ADOPT = """
INSERT OR IGNORE INTO Entry (key, size) SELECT key, length(key) + length(value) FROM Dict;
UPDATE Total SET bytes = (SELECT coalesce(sum(size), 0) FROM Entry);
"""
