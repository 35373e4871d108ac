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
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from e2b_magic.exceptions import StoreBusyError, StoreError
from e2b_magic.store.damage import identity_of, set_aside_leftovers
from e2b_magic.store.failures import BUSY, DAMAGED, code_of
from e2b_magic.store.opening import PAUSE, PatientConnection, open_connection

T = TypeVar("T")

_RECENT = 0.02
"""How old, in seconds, a look may be whether the file is still the same, where nothing is read or written."""

_all: weakref.WeakSet[Connection] = weakref.WeakSet()
_inherited: list[PatientConnection] = []


class Connection:
    """Reads and changes the file, one thread at a time.

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

    # Both are given what to do, and give out no context: Python has room for a Ctrl-C between the steps of a context
    # manager that is written in Python, and the lock would stay taken. A lock's own `with` has none.

    def read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Gives what a question brings, asked outside any transaction of its own.

        Args:
            question: Asks the connection that it is given.

        Raises:
            StoreError: The file cannot be read.
        """
        with self._lock:
            try:
                return question(self._open())
            except (sqlite3.Error, OSError) as error:
                raise self._as_store_error(error) from error

    def write(self, change: Callable[[sqlite3.Connection], T], patience: float | None = None) -> T:
        """Gives what a change gives, made in a transaction that is committed at its end, or undone on an error.

        Args:
            change: Changes the file by the connection that it is given.
            patience: How long to wait for another process, in seconds; the timeout when None.

        Raises:
            StoreError: The file cannot be written.
            StoreBusyError: Another process held it for longer.
        """
        deadline = time.monotonic() + (self._busy_timeout if patience is None else patience)
        while True:
            late = time.monotonic() >= deadline
            with self._lock:
                raw, level, begun = self._raw, self._depth, False
                try:
                    raw = self._open(writable=True)
                    begun = self._begin(raw)
                    value = change(raw)
                    self._commit(raw, level)
                except BaseException as error:
                    if raw is not None and raw is self._raw:
                        # Here, since a Ctrl-C may come at a function's beginning, and nothing would ever be committed.
                        self._depth = level
                        self._commits += begun  # what was read inside the transaction does not hold
                        if raw.in_transaction and level == 0:
                            raw.execute("ROLLBACK")
                    if not isinstance(error, sqlite3.Error | OSError):
                        raise
                    if begun or late or code_of(error) not in BUSY:
                        raise self._as_store_error(error) from error
                else:
                    return value
            time.sleep(PAUSE)

    def _begin(self, raw: PatientConnection) -> bool:
        if self._depth == 0:
            raw.execute_at_once("BEGIN IMMEDIATE")
        self._depth += 1
        return True

    def _commit(self, raw: PatientConnection, level: int) -> None:
        if raw is not self._raw:
            raise StoreError(f"{self.path}: the process was forked, or the store closed, inside a transaction")
        if level == 0:
            raw.execute("COMMIT")
            self._commits += 1
        self._depth = level

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
        self.write(lambda raw: raw.execute(statement, values))  # which lets go of the lock while it waits

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
        if isinstance(error, OSError):  # it is the directory, which SQLite has not come to yet
            why = error.strerror or error
            return StoreError(f"{self.path}: {why}: set E2B_MAGIC_DIRECTORY to a directory of your own")
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
                if raw.in_transaction and not self._depth:  # left by a Ctrl-C that came between two steps
                    raw.execute("ROLLBACK")
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
        raw, self._raw, self._depth = self._raw, None, 0
        if raw is not None:
            raw.close()

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
