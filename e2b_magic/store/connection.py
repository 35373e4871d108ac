"""The connection of one mapping: opened when first used, opened anew when the file is another or after a fork.

All threads share it, one at a time. A thread that waits for another process lets go of it between its tries, so that
others read meanwhile. Everything that SQLite or the operating system raises leaves here as a `StoreError`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2b_magic.exceptions import StoreBusyError, StoreError
from e2b_magic.store.damage import identity_of, set_aside_leftovers
from e2b_magic.store.failures import BUSY, DAMAGED, code_of
from e2b_magic.store.opening import PAUSE, PatientConnection, open_connection

_RECENT = 0.02
"""How old, in seconds, a look may be whether the file is still the same, where nothing is read or written."""

_all: weakref.WeakSet[Connection] = weakref.WeakSet()
_inherited: list[PatientConnection] = []


class Connection:
    """Gives cursors on the file, inside transactions, one thread at a time.

    Args:
        path: The file; its directory is made when missing.
        busy_timeout: How long to wait for another process's transaction, in seconds.
    """

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self.path = path
        self._path = str(path)  # to look whether the file is still the same: sparing a conversion each time
        self._busy_timeout = busy_timeout
        self._lock = threading.RLock()
        self._raw: PatientConnection | None = None
        self._depth = 0  # of transactions within one another
        self._commits = 0
        self._closed = False
        self._looked = 0.0  # when it was seen last that the file is the same, on the monotonic clock
        _all.add(self)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Gives the connection, outside any transaction of its own.

        Raises:
            StoreError: The file cannot be read.
        """
        with self._lock:
            try:
                yield self._open()
            except (sqlite3.Error, OSError) as error:
                raise self._as_store_error(error) from error

    @contextmanager
    def writing(self, patience: float | None = None) -> Iterator[sqlite3.Connection]:
        """Gives the connection inside a transaction that is committed at the end, or undone on an error.

        Args:
            patience: How long to wait for another process, in seconds; the timeout when None.

        Raises:
            StoreError: The file cannot be written.
            StoreBusyError: Another process held it for longer.
        """
        lock = self._begin(self._busy_timeout if patience is None else patience)
        try:
            raw, level = self._open(writable=True), self._depth
            try:
                yield raw
                self._commit(raw, level)
            except BaseException as error:
                self._undo(raw, level)
                if isinstance(error, sqlite3.Error | OSError):
                    raise self._as_store_error(error) from error
                raise
        finally:
            lock.release()

    def _begin(self, patience: float) -> threading.RLock:
        """Takes the lock, which the caller releases, and begins a transaction, or goes one deeper into it."""
        deadline = time.monotonic() + patience
        while True:
            lock = self._lock
            lock.acquire()
            level = self._depth
            try:
                if self._try_to_begin(late=time.monotonic() >= deadline):
                    return lock
            except BaseException:
                self._depth = level if self._raw is not None else 0
                lock.release()
                raise
            lock.release()
            time.sleep(PAUSE)

    def _try_to_begin(self, *, late: bool) -> bool:
        try:
            raw = self._open(writable=True)
            if self._depth == 0:
                if raw.in_transaction:  # left by a Ctrl-C that came between two steps
                    raw.execute("ROLLBACK")
                raw.execute_at_once("BEGIN IMMEDIATE")
        except (sqlite3.Error, OSError) as error:
            if code_of(error) in BUSY and not late:
                return False
            raise self._as_store_error(error) from error
        self._depth += 1
        return True

    def _commit(self, raw: PatientConnection, level: int) -> None:
        if raw is not self._raw:
            raise StoreError(f"{self.path}: the process was forked, or the store closed, inside a transaction")
        if level == 1:
            raw.execute("COMMIT")
            self._commits += 1
        self._depth = level - 1

    def _undo(self, raw: PatientConnection, level: int) -> None:
        if raw is not self._raw:
            return
        self._depth = level - 1
        if self._depth == 0:
            if raw.in_transaction:  # SQLite undoes it by itself on a full disk
                raw.execute("ROLLBACK")
            self._commits += 1  # what was read inside the transaction does not hold

    def state(self) -> tuple[int, int]:
        """Gives a value that stays the same as long as nobody, here or elsewhere, has changed `Dict`.

        Raises:
            StoreError: The file cannot be read.
        """
        with self._lock:
            try:
                # SQLite's data_version changes with the commits of all other connections; ours are counted here.
                raw = self._raw
                if raw is None or self._closed or time.monotonic() - self._looked > _RECENT:
                    raw = self._open()
                    self._looked = time.monotonic()
                return raw.execute("PRAGMA data_version").fetchone()[0], self._commits
            except (sqlite3.Error, OSError) as error:
                raise self._as_store_error(error) from error

    def append(self, statement: str, values: tuple[object, ...]) -> None:
        """Runs one INSERT that does not touch `Dict`, as a transaction of its own and as cheaply as can be.

        Raises:
            StoreError: The file cannot be written.
        """
        with self._lock:
            try:
                self._open(writable=True).execute_at_once(statement, values)
            except (sqlite3.Error, OSError) as error:
                if code_of(error) not in BUSY:
                    raise self._as_store_error(error) from error
            else:
                return
        with self.writing() as raw:  # which lets go of the lock while it waits
            raw.execute(statement, values)

    def close(self) -> None:
        """Closes the connection for good."""
        with self._lock:
            self._closed = True
            self._drop()

    def _as_store_error(self, error: Exception) -> StoreError:
        """Gives the error to raise; a damaged file has been set aside then. Call it while holding the lock."""
        code = code_of(error)
        if code in BUSY:
            return StoreBusyError(f"Another process has held {self.path} for {self._busy_timeout:g} s: try again")
        if code in DAMAGED and self._raw is not None:
            damaged, self._raw, self._depth = self._raw, None, 0
            try:
                damaged.retire(self.path)
            except OSError as refused:
                return StoreError(f"{self.path} is damaged and cannot be set aside: {refused}")
        return StoreError(f"{self.path}: {error}")

    def _open(self, *, writable: bool = False) -> PatientConnection:
        if self._closed:
            raise StoreError(f"{self.path}: the store is closed")
        raw = self._raw
        if raw is not None:
            # The look costs a microsecond. Without it, what is written after the file was deleted, or set aside by
            # another process, would be acknowledged and lost.
            identity = raw.identity if self._depth else identity_of(self._path)
            if raw.identity == identity and (raw.writable or not writable or self._depth):
                return raw
            self._drop()
            if identity not in (None, raw.identity):
                set_aside_leftovers(self.path, raw.wal)
        self._raw = self._open_anew(writable=writable)
        self._looked = 0.0
        self._commits += 1  # another connection's data_version means nothing to this one's
        return self._raw

    def _open_anew(self, *, writable: bool) -> PatientConnection:
        try:
            return open_connection(self.path, self._busy_timeout, writable=writable)
        except sqlite3.DatabaseError as error:
            if code_of(error) not in DAMAGED:
                raise
        return open_connection(self.path, self._busy_timeout, writable=writable)

    def _drop(self) -> None:
        if self._raw is not None:
            self._raw.close()
        self._raw, self._depth = None, 0

    def _after_fork(self) -> None:
        """Begins anew in a child: its lock may be held by a thread that only the parent has."""
        self._lock = threading.RLock()
        if self._raw is not None:
            # Kept and never touched: to close it would drop the parent's locks (howtocorrupt.html, 2.6).
            _inherited.append(self._raw)
        self._raw, self._depth = None, 0
        self._commits += 1


def _after_fork_in_child() -> None:
    for connection in list(_all):
        connection._after_fork()  # noqa: SLF001  the module's own


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
