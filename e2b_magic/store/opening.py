"""One SQLite connection to the file, opened for writing, or as far as the file system lets it.

`open_connection` tries, from best to last: writable; read-only beside other processes; read-only as a file that nobody
changes, which is all that works where not even a lock file can be made; and an empty stand-in in memory where there is
no file and none can be made. So reading works wherever there is something to be read.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from e2b_magic.interrupts import deferred
from e2b_magic.store.damage import Identity, create, identity_of, set_aside
from e2b_magic.store.failures import BUSY, DAMAGED, REFUSED, code_of
from e2b_magic.store.schema import SCHEMA, TABLES

PAUSE = 0.005
"""Between two tries for a file that another process holds, in seconds."""


class PatientConnection(sqlite3.Connection):
    """A connection that waits for other processes in short sleeps.

    SQLite's own waiting is one long call, in which a Ctrl-C is not felt.

    Attributes:
        patience: How long to wait, in seconds.
        identity: The file that it is open on; None for a stand-in in memory.
        wal: The -wal that belongs to that file; None when it has none.
        writable: Whether it was opened for writing.
    """

    patience: float = 0.0
    identity: Identity | None = None
    wal: Identity | None = None
    writable: bool = False

    def execute(self, statement: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Runs a statement; one that SQLite calls busy has done nothing, so it is simply tried again."""
        try:
            return super().execute(statement, parameters)
        except sqlite3.OperationalError as error:
            if code_of(error) not in BUSY:
                raise
        deadline = time.monotonic() + self.patience
        while True:
            try:
                return super().execute(statement, parameters)
            except sqlite3.OperationalError as error:
                if code_of(error) not in BUSY or time.monotonic() >= deadline:
                    raise
            time.sleep(PAUSE)

    def retire(self, path: Path) -> None:
        """Closes it and sets its file, which is damaged, aside."""
        # Renamed first where an open file can be: the last to close a file that still has its name deletes its -wal.
        if os.name == "nt":
            self.close()
            set_aside(path, self.identity)
            return
        try:
            set_aside(path, self.identity)
        finally:
            self.close()

    def execute_at_once(self, statement: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Runs a statement, and waits for nobody."""
        return super().execute(statement, parameters)


def open_connection(path: Path, patience: float, *, writable: bool) -> PatientConnection:
    """Gives a connection to the file, which is made when there is none.

    Args:
        path: The file.
        patience: How long to wait for other processes, in seconds.
        writable: Whether one that can only read will not do.

    Raises:
        OSError: It cannot be opened for writing, and was to be.
        sqlite3.Error: The same, or the file was damaged; then it has been set aside, if it could be.
    """
    try:
        return _open_writable(path, patience)
    except (OSError, sqlite3.OperationalError) as error:
        if writable or not (isinstance(error, OSError) or code_of(error) in REFUSED):
            raise
    return _open_for_reading(path, patience)


def _connect(database: str, patience: float, path: Path | None) -> PatientConnection:
    while True:
        raw = None
        try:
            identity = None if path is None else identity_of(path)
            with deferred():  # else a Ctrl-C might find it open, and nobody who knows of it
                # Whoever uses it holds a lock of ours: SQLite's check for one thread only would be in the way.
                raw = sqlite3.connect(
                    database,
                    timeout=0,
                    isolation_level=None,
                    check_same_thread=False,
                    uri=True,
                    factory=PatientConnection,
                )
            raw.patience, raw.identity = patience, identity
            if path is None or identity_of(path) == identity:
                return raw
        except BaseException:
            if raw is not None:
                raw.close()
            raise
        raw.close()  # another file came to lie there just now: which of the two it has open is not known


def _open_writable(path: Path, patience: float) -> PatientConnection:
    create(path)
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path} is read-only")
    _make_private(path)
    raw = _connect(f"{path.absolute().as_uri()}?mode=rw", patience, path)
    try:
        (mode,) = raw.execute("PRAGMA journal_mode = WAL").fetchone()
        # NORMAL does not wait for the disk at each commit: what a power cut may cost is the last transactions,
        # never the file, and a killed process costs nothing. Without WAL that would not hold: then FULL.
        raw.execute(f"PRAGMA synchronous = {'NORMAL' if mode == 'wal' else 'FULL'}")
        if raw.execute("SELECT count(*) FROM sqlite_master WHERE name = 'DictDeleted'").fetchone() == (0,):
            raw.execute("BEGIN IMMEDIATE")
            # Not executescript, which commits before it begins, and so would let another process in between.
            for statement in (*TABLES.values(), *SCHEMA):
                raw.execute(statement.format(temporary=""))
            raw.execute("COMMIT")
        raw.wal = identity_of(f"{path}-wal")
    except BaseException as error:
        if code_of(error) in DAMAGED:
            raw.retire(path)
        raw.close()
        raise
    raw.writable = True
    return raw


def _make_private(path: Path) -> None:
    """Takes the file, if it is ours, away from others: `dbm.open` makes files that everybody may read."""
    if os.name == "nt":
        return  # the modes of Windows say nothing of who may read; there the user's profile is private
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        try:
            status = part.stat()
        except FileNotFoundError:
            continue
        if status.st_mode & 0o077 and status.st_uid == os.geteuid():
            part.chmod(0o600)


def _open_for_reading(path: Path, patience: float) -> PatientConnection:
    if identity_of(path) is None:
        return _complete(_connect("file::memory:", patience, None))
    uri = path.absolute().as_uri()
    raw = _connect(f"{uri}?mode=ro", patience, path)
    try:
        return _complete(raw)
    except sqlite3.OperationalError:
        # In WAL mode even a reader needs the -shm file, which cannot be made here.
        return _complete(_connect(f"{uri}?mode=ro&immutable=1", patience, path))


def _complete(raw: PatientConnection) -> PatientConnection:
    """Gives a connection that cannot write with a temporary table for each that is not in its file."""
    try:
        raw.execute("PRAGMA temp_store = MEMORY")
        present = {name for (name,) in raw.execute("SELECT name FROM sqlite_master").fetchall()}
        for name, statement in TABLES.items():
            if name not in present:
                raw.execute(statement.format(temporary="TEMP"))
                if name == "Total":
                    raw.execute("INSERT INTO Total VALUES (1, 0, 0, 0)")
    except BaseException:
        raw.close()
        raise
    return raw
