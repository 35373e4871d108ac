"""Typed records in the key-value store, each user's under keys of their own (see `keys`).

Ids sort by time, so a page of history is a range of keys, and adding to it rewrites nothing. Values are JSON. What
another program wrote under a key of ours, and is no record, is passed over.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from e2b_magic.exceptions import StoreError
from e2b_magic.records import ExecutionResult, Project, Status
from e2b_magic.store import values
from e2b_magic.store.executions import Executions
from e2b_magic.store.jobs import Jobs
from e2b_magic.store.keys import Keys
from e2b_magic.store.mapping import SPACE, KeyValueStore
from e2b_magic.store.memory import Memory
from e2b_magic.store.schema import Kind
from e2b_magic.store.values import decode, encode

CACHE_LIFETIME = 3600
_PAGE = 200
_PATIENCE = 2.0  # seconds; a command waits for its history a few times, and not longer for another process than this


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What the cache and its file hold.

    Attributes:
        entries: How many results may be given again.
        bytes: What the file's keys and values take, results and projects included.
        space: The most that they may take, in bytes.
        hits: How often a stored result was given.
        misses: How often none was there.
        path: The file.
    """

    entries: int
    bytes: int
    space: int
    hits: int
    misses: int
    path: Path


@dataclass(frozen=True, slots=True)
class CachedResult:
    """A result that may be given again.

    Attributes:
        command: The command's text.
        project: Its project.
        execution_id: The execution whose result it is.
        size: What that takes in the store, in bytes.
        stored_at: When it was stored, in seconds since the epoch.
        expires_at: Until when it may be given.
    """

    command: str
    project: str
    execution_id: str
    size: int
    stored_at: float
    expires_at: float


class Store:
    """One user's records.

    Args:
        kv: Where they are kept.
        user: Whose they are.

    Attributes:
        jobs: The background jobs.

    Raises:
        StoreError: By every method, when the file cannot be read or written.
    """

    def __init__(self, kv: KeyValueStore, *, user: str = "local") -> None:
        self.kv = kv
        self._keys = Keys(user)
        self._executions = Executions(kv, self._keys)
        self.jobs = Jobs(kv, self._keys)
        self._memory = Memory(kv)

    # Executions

    def save_execution(self, record: ExecutionResult) -> None:
        """Stores an execution, as pending or as it ended."""
        self._executions.save(record.to_json())

    def execution(self, execution_id: str) -> ExecutionResult | None:
        """Gives an execution; None when there is none, or not any more."""
        return self._executions.get(execution_id)

    def history(
        self,
        project: str | None = None,
        *,
        status: Status | None = None,
        text: str | None = None,
        since: float | None = None,
        limit: int | None = 50,
        before: str | None = None,
    ) -> list[ExecutionResult]:
        """Gives executions, newest first.

        Args:
            project: Only this project's.
            status: Only those that ended so.
            text: Only those whose command contains this.
            since: Only those that began at or after this time, in seconds since the epoch.
            limit: How many at most; None for all.
            before: Only those older than the execution of this id.
        """

        def wanted(record: ExecutionResult) -> bool:
            return (status is None or record.status is status) and (text is None or text in record.command)

        found: list[ExecutionResult] = []
        page = _PAGE if status or text or limit is None else min(_PAGE, limit)
        for record in self._executions.newest(project, before, page):
            if len(found) == limit or (since is not None and record.started_at < since):
                break
            if wanted(record):
                found.append(record)
        return found

    def pending(self, project: str | None = None) -> list[ExecutionResult]:
        """Gives the executions that have not ended, oldest first; of one project, or of all."""
        return self._executions.pending(project)

    # The cache

    def take_cached(self, key: str, execution_id: str, session: str) -> ExecutionResult | None:
        """Gives the stored result under a key as a hit of now, and puts the hit into the history.

        A hit that cannot be stored, since the disk is read-only or full, is given all the same.

        Args:
            key: The cache key.
            execution_id: The hit's own id.
            session: Who asks.
        """
        began, now = time.perf_counter(), time.time()
        name = self._keys.cache(key)
        original = self._memory.get(name, self._load_cached)
        if original is None:
            with suppress(StoreError):  # a number that is off by one hurts nobody
                self.kv.missed()
            return None
        hit: dict[str, Any] = {
            "id": execution_id,
            "session": session,
            "cached_at": original.started_at,
            "started_at": now,
            "duration": time.perf_counter() - began,
        }
        # Project and command are the original's; they are stored again in case it is evicted before the hit is placed.
        what = {"project": original.project, "command": original.command, "output_of": original.id}
        with suppress(StoreError):
            self._executions.save(hit | what, used=name)
        return replace(original, cached=True, **hit)

    def _load_cached(self, name: bytes) -> tuple[ExecutionResult, float] | None:
        found = self.kv.read(name)
        execution_id = None if found is None else decode(found[0], _referred)
        if found is None or execution_id is None:
            return None
        original = self._executions.result(execution_id)
        return None if original is None else (original, found[1])

    def cache_result(self, key: str, record: ExecutionResult, *, lifetime: float = CACHE_LIFETIME) -> None:
        """Lets a stored execution answer a key.

        Args:
            key: The cache key.
            record: The execution, which has been saved.
            lifetime: For how long, in seconds.
        """
        value = encode({"id": record.id, "project": record.project, "command": record.command})
        self.kv.set(self._keys.cache(key), value, kind=Kind.CACHE, lifetime=lifetime)

    def clear_cache(self, command: str | None = None, project: str | None = None) -> int:
        """Forgets the cached results of a command, of a project, of both, or all; gives their number."""
        prefix = self._keys.cache()
        if command is None and project is None:
            return self.kv.delete_prefix(prefix)
        count, after = 0, None
        while page := self.kv.page(prefix, limit=_PAGE, after=after):
            after = page[-1][0]
            for key, value in page:
                # What cannot be read might be meant: it goes too.
                data = decode(value, values.as_it_is) or {}
                if command in (None, data.get("command", command)) and project in (None, data.get("project", project)):
                    count += self.kv.discard(key)
        return count

    def cache_info(self) -> CacheInfo:
        """Gives what the cache and its file hold."""
        with suppress(StoreError):  # then the latest hits are not counted yet
            self._executions.settle(patience=0)
        prefix = self._keys.cache()
        entries, after = 0, None
        while page := self.kv.page(prefix, limit=1000, after=after):
            entries, after = entries + len(page), page[-1][0]
        totals = self.kv.totals()
        return CacheInfo(entries, totals.bytes, self.kv.space, totals.hits, totals.misses, self.kv.path)

    def cached_results(self, limit: int | None = None) -> list[CachedResult]:
        """Gives the results that may be given again, newest first.

        Args:
            limit: How many at most.
        """
        with suppress(StoreError):  # then the size of the latest is not known yet
            self._executions.settle(patience=0)
        found = []
        for entry in self.kv.newest(self._keys.cache(), limit):
            data = decode(entry.value, values.as_it_is)
            if data is not None and entry.since is not None and entry.expires_at is not None:
                command, project, execution_id = (str(data.get(name, "")) for name in ("command", "project", "id"))
                size = self.kv.size_of(self._keys.result(execution_id))
                found.append(CachedResult(command, project, execution_id, size, entry.since, entry.expires_at))
        return found

    # Projects

    def project(self, name: str) -> Project | None:
        """Gives a project; None when nothing is known of it."""
        return self._memory.get(self._keys.project(name), self._load_project)

    def _load_project(self, key: bytes) -> tuple[Project, float] | None:
        found = self.kv.read(key)
        project = None if found is None else decode(found[0], values.project)
        return None if found is None or project is None else (project, found[1])

    def update_project(self, name: str, **changes: Any) -> Project:
        """Changes a project's fields, making it when it is new, as one step, whoever else does the same.

        Args:
            name: The project's name.
            changes: For each field its new value, or a function from the old value to the new one.
        """

        def change(value: bytes | None) -> bytes:
            now = time.time()
            known = decode(value, values.project) or _begun(name, now, again=value is not None)
            new = {field: to(getattr(known, field)) if callable(to) else to for field, to in changes.items()}
            return encode(replace(known, **({"updated_at": now} | new)).to_json())

        return values.project(json.loads(self.kv.change(self._keys.project(name), change)))

    def projects(self) -> list[Project]:
        """Gives every project, by name."""
        found: list[Project] = []
        after: bytes | None = None
        while page := self.kv.page(self._keys.project(""), limit=_PAGE, after=after):
            after = page[-1][0]
            found += filter(None, (decode(value, values.project) for _, value in page))
        return sorted(found, key=lambda project: project.name)

    def forget_project(self, name: str) -> bool:
        """Forgets a project; says whether it was known. Its executions stay until their time is over."""
        return self.kv.discard(self._keys.project(name))

    def close(self) -> None:
        """Closes the file."""
        with suppress(StoreError):  # the journal keeps until the next time
            self._executions.settle()
        self.kv.close()


def _referred(data: dict[str, Any]) -> str:
    return str(data["id"])


def _begun(name: str, now: float, *, again: bool) -> Project:
    # In place of one that cannot be read: with a revision above any it had, or its cached results would hold again.
    return Project(name=name, created_at=now, revision=int(now) if again else 0)


def open_store(directory: Path, *, user: str = "local", space: int = SPACE) -> Store:
    """Gives a user's store in a directory; nothing is touched before it is used."""
    return Store(KeyValueStore(directory / "store.db", space=space, busy_timeout=_PATIENCE), user=user)
