"""Typed records in the key-value store, each user's under keys of their own.

The words of the keys are the seed's:

    <user>/exec_result/<id>              an execution, for seven days
    <user>/exec_history/<project>/<id>   that it is one of this project's; empty
    <user>/exec_pending/<id>             that it has not ended; empty
    <user>/project_meta/<project>        a project, for good
    <user>/cache_cmd/<key>               which execution answers this key, for an hour

Ids sort by time, so a page of history is a range of keys, and adding to it rewrites nothing. Users' and projects'
names are percent-encoded, so that no name can reach into another's keys. Values are JSON. A cached hit's record refers
to the execution whose output it repeats instead of holding it again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from e2b_magic.records import ExecutionResult, Project, Status
from e2b_magic.store.mapping import SPACE, KeyValueStore
from e2b_magic.store.schema import Kind

RESULT_LIFETIME = 7 * 24 * 3600
CACHE_LIFETIME = 3600
_PAGE = 200


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

    def _key(self, *words: str) -> bytes:
        return "/".join([self._user, *words]).encode()

    # Executions

    def save_execution(self, record: ExecutionResult) -> None:
        """Stores an execution, as pending or as it ended, in one step with its place in the history."""
        self._save(record, record.to_json())

    def _save(self, record: ExecutionResult, data: dict[str, Any]) -> None:
        lasting = {"kind": Kind.RESULT, "lifetime": RESULT_LIFETIME}
        with self.kv.transaction():
            self.kv.set(self._key("exec_result", record.id), _dump(data), **lasting)  # type: ignore[arg-type]
            history = self._key("exec_history", quote(record.project, safe=""), record.id)
            self.kv.set(history, b"", **lasting)  # type: ignore[arg-type]
            pending = self._key("exec_pending", record.id)
            if record.status is Status.PENDING:
                self.kv.set(pending, b"", **lasting)  # type: ignore[arg-type]
            elif not record.cached:
                self.kv.pop(pending, None)

    def execution(self, execution_id: str) -> ExecutionResult | None:
        """Gives an execution; None when there is none, or not any more."""
        value = self.kv.get(self._key("exec_result", execution_id))
        return None if value is None else self._read(value)

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
        found: list[ExecutionResult] = []
        while len(found) < limit:
            page = self._history_page(project, before, min(_PAGE, limit if status is text is None else _PAGE))
            if not page:
                break
            before = page[-1][0]
            for _, record in page:
                if record is None or (status and record.status is not status) or (text and text not in record.command):
                    continue
                if since is not None and record.started_at < since:
                    return found[:limit]
                found.append(record)
        return found[:limit]

    def _history_page(
        self, project: str | None, before: str | None, limit: int
    ) -> list[tuple[str, ExecutionResult | None]]:
        word = ("exec_result",) if project is None else ("exec_history", quote(project, safe=""))
        prefix = self._key(*word, "")
        bound = None if before is None else prefix + before.encode()
        rows = [
            (key.rpartition(b"/")[2].decode(), value)
            for key, value in self.kv.page(prefix, limit=limit, before=bound, reverse=True)
        ]
        if project is None:
            return [(name, self._read(value)) for name, value in rows]
        return [(name, self.execution(name)) for name, _ in rows]

    def pending(self) -> list[ExecutionResult]:
        """Gives the executions that have not ended, oldest first."""
        rows = self.kv.page(self._key("exec_pending", ""), limit=1000)
        records = (self.execution(key.rpartition(b"/")[2].decode()) for key, _ in rows)
        return [record for record in records if record is not None]

    # The cache

    def take_cached(self, key: str, hit: Callable[[ExecutionResult], ExecutionResult]) -> ExecutionResult | None:
        """Gives the stored result under a key as a hit, and puts the hit into the history, all in one step.

        Args:
            key: The cache key.
            hit: Makes the hit's record from the one of the execution that really ran.
        """
        name = self._key("cache_cmd", key)
        with self.kv.transaction():
            value = self.kv.get(name)
            original = None if value is None else self.execution(json.loads(value)["id"])
            self.kv.use(name, hit=original is not None)
            if original is None:
                return None
            record = hit(original)
            self._save(record, record.to_json() | {"stdout": "", "stderr": "", "output_of": original.id})
        return record

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
                    count += self.kv.pop(key, None) is not None
        return count

    def cache_info(self) -> CacheInfo:
        """Gives what the cache and its file hold."""
        prefix = self._key("cache_cmd", "")
        entries, after = 0, None
        while page := self.kv.page(prefix, limit=1000, after=after):
            entries, after = entries + len(page), page[-1][0]
        totals = self.kv.totals()
        return CacheInfo(entries, totals.bytes, self.kv.space, totals.hits, totals.misses, self.kv.path)

    # Projects

    def project(self, name: str) -> Project | None:
        """Gives a project; None when nothing is known of it."""
        value = self.kv.get(self._project_key(name))
        return None if value is None else Project.from_json(json.loads(value))

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
        return self.kv.pop(self._project_key(name), None) is not None

    def _project_key(self, name: str) -> bytes:
        return self._key("project_meta", quote(name, safe=""))

    def close(self) -> None:
        """Closes the file."""
        self.kv.close()


def _dump(data: dict[str, Any]) -> bytes:
    # Escaped to ASCII: output may hold lone surrogates, which UTF-8 does not take.
    return json.dumps(data, separators=(",", ":")).encode()


def open_store(directory: Path, *, user: str = "local", space: int = SPACE) -> Store:
    """Gives a user's store in a directory; nothing is touched before it is used."""
    return Store(KeyValueStore(directory / "store.db", space=space), user=user)
