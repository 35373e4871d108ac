"""Which sandboxes are orphans: those that no store has as a project's, and that nobody who lives has made.

Every sandbox carries its origin: the session that asked for it and the directory of the store that was to know it.
`Orphans.judge` asks, in this order:

1. Is it younger than a minute? Whoever makes it may not have stored it yet.
2. Has this store it as a project's?
3. Does another session live that asked for it? It may be in use there though no store has it, as when that session's
   home cannot be written.
4. Did it come from this store? Then it is an orphan: a crash left it, or the store was lost.
5. Did it come from another store of this machine, as in an experiment with another `E2B_MAGIC_DIRECTORY`? Where that
   store has it, it is no orphan. Where the store is gone, or knows nothing of it, it is a stray: to be ended only when
   that is asked for, since a directory may also be missing because its disk is not there today.

Of what came from another machine, or tells no origin, nobody here can say whose it is: it is left alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

from e2b_magic.client.session import has_died, host_of, own_session
from e2b_magic.exceptions import StoreError
from e2b_magic.records import SandboxState
from e2b_magic.store import Store, open_store

NEW = 60.0
"""A sandbox younger than this, in seconds, is no orphan."""
_FILE = "store.db"


class Fate(Enum):
    """What is to become of a sandbox: it is `KEPT`, an `ORPHAN` of this store, or a `STRAY` of one that is gone."""

    KEPT = "kept"
    ORPHAN = "orphan"
    STRAY = "stray"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asked for a sandbox.

    Attributes:
        session: The session, see `session`.
        directory: The directory of its store; empty when it is not told.
    """

    session: str
    directory: str

    def __str__(self) -> str:
        return f"{self.session} {self.directory}"


def own_origin(directory: Path) -> str:
    """Gives what a sandbox that this session asks for carries."""
    return _origin(own_session(), directory)


@cache
def _origin(session: str, directory: Path) -> str:
    # A name that is no UTF-8 could not travel as JSON.
    return str(Origin(session, str(directory).encode("utf-8", "backslashreplace").decode()))


def read_origin(text: str) -> Origin:
    """Gives a sandbox's origin; an empty one when it carries none."""
    session, _, directory = text.partition(" ")
    return Origin(session, directory)


class Orphans:
    """Judges sandboxes, for a client.

    Args:
        store: The client's store.
        directory: Where that lies.
        user: Whose records are looked at, in other stores too.

    Raises:
        StoreError: The store cannot tell which sandboxes its projects have.
    """

    def __init__(self, store: Store, directory: Path, user: str) -> None:
        self._own = read_origin(own_origin(directory))
        self._user = user
        self._owned = _sandboxes_of(store)
        self._others: dict[str, frozenset[str] | None] = {}

    def judge(self, state: SandboxState) -> Fate:
        """Says what is to become of a sandbox."""
        origin = read_origin(state.origin)
        if time.time() - state.started_at <= NEW or state.sandbox_id in self._owned:
            return Fate.KEPT
        if host_of(origin.session) != host_of(self._own.session):
            return Fate.KEPT
        if origin.session != self._own.session and not has_died(origin.session):
            return Fate.KEPT
        if origin.directory == self._own.directory:
            return Fate.ORPHAN
        known = self._known_elsewhere(origin.directory)
        return Fate.KEPT if known is None or state.sandbox_id in known else Fate.STRAY

    def _known_elsewhere(self, directory: str) -> frozenset[str] | None:
        """Gives the sandboxes that another store's projects have; None when it cannot be read."""
        if directory not in self._others:
            self._others[directory] = _look_into(Path(directory), self._user)
        return self._others[directory]


def _look_into(directory: Path, user: str) -> frozenset[str] | None:
    try:
        if not (directory / _FILE).exists():
            return frozenset()
        store = open_store(directory, user=user)
        try:
            return _sandboxes_of(store)
        finally:
            store.close()
    except (OSError, StoreError):
        return None


def _sandboxes_of(store: Store) -> frozenset[str]:
    return frozenset(project.sandbox_id for project in store.projects() if project.sandbox_id)
