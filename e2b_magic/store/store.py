"""Typed records in the key-value store, each user's under keys of their own.

The words of the keys are the seed's:

    <user>/exec_result/<id>              an execution, for seven days
    <user>/exec_history/<project>/<id>   that it is one of this project's; empty
    <user>/exec_pending/<id>             an execution that has not ended
    <user>/project_meta/<project>        a project, for good
    <user>/cache_cmd/<key>               which execution answers this key, for an hour

Ids sort by time, so a page of history is a range of keys, and adding to it rewrites nothing. Users' and projects'
names are percent-encoded, so that no name can reach into another's keys. Values are JSON. A cached hit's record refers
to the execution whose output it repeats instead of holding it again.
"""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import quote

from e2b_magic.exceptions import StoreError
from e2b_magic.records import ExecutionResult, Project, Status, new_execution_id
from e2b_magic.store.mapping import SPACE, KeyValueStore
from e2b_magic.store.memory import Memory
from e2b_magic.store.schema import Kind


class _Lasting(TypedDict):
    kind: Kind
    lifetime: float


RESULT_LIFETIME = 7 * 24 * 3600
CACHE_LIFETIME = 3600
_PAGE = 200
_JOURNAL = 256 * 1024  # bytes in the journal after which they are given their place in the history
_ROW = 2048  # bytes that a row counts for beside its value, so that small ones do not pile up either
_LASTING: _Lasting = {"kind": Kind.RESULT, "lifetime": RESULT_LIFETIME}


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


class Store:
    """One user's records.

    Args:
        kv: Where they are kept.
        user: Whose they are.

    Raises:
        StoreError: By every method, when the file cannot be read or written.
    """

    def __init__(self, kv: KeyValueStore, *, user: str = "local") -> None:
        self.kv = kv
        self._user = quote(user, safe="")
        self._journaled = 0
        self._memory = Memory(kv)

    def _key(self, *words: str) -> bytes:
        return "/".join([self._user, *words]).encode()

    # Executions

    def save_execution(self, record: ExecutionResult) -> None:
        """Stores an execution, as pending or as it ended."""
        self._note(_dump(record.to_json()))

    def _note(self, value: bytes, used: bytes | None = None) -> None:
        # To the journal: it is as safe there as anywhere in the file, and no command has to wait for its history.
        self.kv.journal(self._user.encode(), value, used)
        self._journaled += len(value) + _ROW
        if self._journaled >= _JOURNAL:
            self._settle()

    def _settle(self) -> None:
        """Gives what the journal holds its place: pending, or a result and part of the history."""
        self._journaled = 0
        if self.kv.journal_is_empty():
            return
        with self.kv.transaction():
            for value, at in self.kv.take_journal(self._user.encode()):
                self._place(json.loads(value), value, at)

    def _place(self, data: dict[str, Any], value: bytes, at: float) -> None:
        pending = self._key("exec_pending", data["id"])
        if data.get("status") == Status.PENDING:
            self.kv.set(pending, value, at=at, **_LASTING)
            return
        if "output_of" in data:
            original = self.kv.get(self._key("exec_result", data["output_of"]))
            if original is None:
                return
            data = json.loads(original) | data | {"stdout": "", "stderr": "", "cached": True}
            value = _dump(data)
        self.kv.set(self._key("exec_result", data["id"]), value, at=at, **_LASTING)
        self.kv.set(self._key("exec_history", quote(data["project"], safe=""), data["id"]), b"", at=at, **_LASTING)
        self.kv.discard(pending)

    def execution(self, execution_id: str) -> ExecutionResult | None:
        """Gives an execution; None when there is none, or not any more."""
        self._settle()
        return self._execution(execution_id)

    def _execution(self, execution_id: str) -> ExecutionResult | None:
        for word in ("exec_result", "exec_pending"):
            value = self.kv.get(self._key(word, execution_id))
            if value is not None:
                return self._read(value)
        return None

    def _read(self, value: bytes) -> ExecutionResult:
        data = json.loads(value)
        record = ExecutionResult.from_json(data)
        if "output_of" not in data:
            return record
        original = self.kv.get(self._key("exec_result", data["output_of"]))
        if original is None:
            return replace(record, truncated=True)
        output = json.loads(original)
        return replace(record, stdout=output["stdout"], stderr=output["stderr"])

    def history(
        self,
        project: str | None = None,
        *,
        status: Status | None = None,
        text: str | None = None,
        since: float | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[ExecutionResult]:
        """Gives executions, newest first.

        Args:
            project: Only this project's.
            status: Only those that ended so.
            text: Only those whose command contains this.
            since: Only those that began at or after this time, in seconds since the epoch.
            limit: How many at most.
            before: Only those older than the execution of this id.
        """
        self._settle()

        def wanted(record: ExecutionResult) -> bool:
            return (status is None or record.status is status) and (text is None or text in record.command)

        found: list[ExecutionResult] = []
        for record in self._newest(project, before, _PAGE if status or text else min(_PAGE, limit)):
            if len(found) == limit or (since is not None and record.started_at < since):
                break
            if wanted(record):
                found.append(record)
        return found

    def _newest(self, project: str | None, before: str | None, page_size: int) -> Iterator[ExecutionResult]:
        """Gives what has ended and what has not, newest first."""
        unfinished = [
            record
            for record in reversed(self.pending())
            if project in (None, record.project) and (before is None or record.id < before)
        ]
        return heapq.merge(
            unfinished, self._ended(project, before, page_size), key=lambda record: record.id, reverse=True
        )

    def _ended(self, project: str | None, before: str | None, page_size: int) -> Iterator[ExecutionResult]:
        word = ("exec_result",) if project is None else ("exec_history", quote(project, safe=""))
        prefix = self._key(*word, "")
        bound = None if before is None else prefix + before.encode()
        while page := self.kv.page(prefix, limit=page_size, before=bound, reverse=True):
            bound = page[-1][0]
            for key, value in page:
                record = self._read(value) if project is None else self._execution(key[len(prefix) :].decode())
                if record is not None:
                    yield record

    def pending(self) -> list[ExecutionResult]:
        """Gives the executions that have not ended, oldest first."""
        self._settle()
        return [self._read(value) for _, value in self.kv.page(self._key("exec_pending", ""), limit=1000)]

    # The cache

    def take_cached(self, key: str, session: str) -> ExecutionResult | None:
        """Gives the stored result under a key as a hit of now, and puts the hit into the history.

        Args:
            key: The cache key.
            session: Who asks.
        """
        began, now = time.perf_counter(), time.time()
        name = self._key("cache_cmd", key)
        original = self._memory.get(name, self._load_cached)
        if original is None:
            self.kv.missed()
            return None
        hit: dict[str, Any] = {
            "id": new_execution_id(now),
            "session": session,
            "cached_at": original.started_at,
            "started_at": now,
            "duration": time.perf_counter() - began,
        }
        self._note(_dump(hit | {"output_of": original.id}), used=name)
        return replace(original, cached=True, **hit)

    def _load_cached(self, name: bytes) -> tuple[ExecutionResult, float] | None:
        found = self.kv.read(name)
        if found is None:
            return None
        key = self._key("exec_result", json.loads(found[0])["id"])
        original = self.kv.get(key)
        if original is None:
            # Only now: to settle is to commit, which would make every hit forget what the memory holds.
            self._settle()
            original = self.kv.get(key)
        return None if original is None else (ExecutionResult.from_json(json.loads(original)), found[1])

    def cache_result(self, key: str, record: ExecutionResult, *, lifetime: float = CACHE_LIFETIME) -> None:
        """Lets a stored execution answer a key.

        Args:
            key: The cache key.
            record: The execution, which has been saved.
            lifetime: For how long, in seconds.
        """
        value = _dump({"id": record.id, "project": record.project, "command": record.command})
        self.kv.set(self._key("cache_cmd", key), value, kind=Kind.CACHE, lifetime=lifetime)

    def clear_cache(self, command: str | None = None, project: str | None = None) -> int:
        """Forgets the cached results of a command, of a project, of both, or all; gives their number."""
        prefix = self._key("cache_cmd", "")
        if command is None and project is None:
            return self.kv.delete_prefix(prefix)
        count, after = 0, None
        while page := self.kv.page(prefix, limit=_PAGE, after=after):
            after = page[-1][0]
            for key, value in page:
                data = json.loads(value)
                if command in (None, data["command"]) and project in (None, data["project"]):
                    count += self.kv.discard(key)
        return count

    def cache_info(self) -> CacheInfo:
        """Gives what the cache and its file hold."""
        self._settle()
        prefix = self._key("cache_cmd", "")
        entries, after = 0, None
        while page := self.kv.page(prefix, limit=1000, after=after):
            entries, after = entries + len(page), page[-1][0]
        totals = self.kv.totals()
        return CacheInfo(entries, totals.bytes, self.kv.space, totals.hits, totals.misses, self.kv.path)

    # Projects

    def project(self, name: str) -> Project | None:
        """Gives a project; None when nothing is known of it."""
        return self._memory.get(self._project_key(name), self._load_project)

    def _load_project(self, key: bytes) -> tuple[Project, float] | None:
        found = self.kv.read(key)
        return None if found is None else (Project.from_json(json.loads(found[0])), found[1])

    def update_project(self, name: str, **changes: Any) -> Project:
        """Changes a project's fields, making it when it is new, as one step, whoever else does the same.

        Args:
            name: The project's name.
            changes: For each field its new value, or a function from the old value to the new one.
        """

        def change(value: bytes | None) -> bytes:
            now = time.time()
            known = Project(name=name, created_at=now) if value is None else Project.from_json(json.loads(value))
            new = {field: to(getattr(known, field)) if callable(to) else to for field, to in changes.items()}
            return _dump(replace(known, **({"updated_at": now} | new)).to_json())

        return Project.from_json(json.loads(self.kv.change(self._project_key(name), change)))

    def projects(self) -> list[Project]:
        """Gives every project, by name."""
        found: list[Project] = []
        after: bytes | None = None
        while page := self.kv.page(self._key("project_meta", ""), limit=_PAGE, after=after):
            after = page[-1][0]
            found += [Project.from_json(json.loads(value)) for _, value in page]
        return sorted(found, key=lambda project: project.name)

    def forget_project(self, name: str) -> bool:
        """Forgets a project; says whether it was known. Its executions stay until their time is over."""
        return self.kv.discard(self._project_key(name))

    def _project_key(self, name: str) -> bytes:
        return self._key("project_meta", quote(name, safe=""))

    def close(self) -> None:
        """Closes the file."""
        with suppress(StoreError):  # the journal keeps until the next time
            self._settle()
        self.kv.close()


def _dump(data: dict[str, Any]) -> bytes:
    # Escaped to ASCII: output may hold lone surrogates, which UTF-8 does not take.
    return json.dumps(data, separators=(",", ":")).encode()


def open_store(directory: Path, *, user: str = "local", space: int = SPACE) -> Store:
    """Gives a user's store in a directory; nothing is touched before it is used."""
    return Store(KeyValueStore(directory / "store.db", space=space), user=user)
