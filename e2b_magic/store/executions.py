"""One user's executions: stored in the file's journal at once, and given their place in the history later.

An execution that is stored goes to the end of the journal, where it is as safe as anywhere in the file and costs a
quarter. Whoever reads gives the journal's executions their place first, and where that cannot be (another process
writes, or the disk is read-only) reads them together with those that have theirs. A hit of the cache refers to the
execution whose output it repeats instead of holding it again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypedDict

from e2b_magic.exceptions import StoreError
from e2b_magic.records import ExecutionResult, Status
from e2b_magic.store.keys import Keys
from e2b_magic.store.mapping import KeyValueStore
from e2b_magic.store.schema import Kind
from e2b_magic.store.values import as_it_is, decode, encode, execution, execution_data


class _Lasting(TypedDict):
    kind: Kind
    lifetime: float


RESULT_LIFETIME = 7 * 24 * 3600
_JOURNAL = 256 * 1024  # bytes in the journal after which they are given their place in the history
_ROW = 2048  # bytes that a row counts for beside its value, so that small ones do not pile up either
_LASTING: _Lasting = {"kind": Kind.RESULT, "lifetime": RESULT_LIFETIME}

Data = dict[str, Any]
_LOST: Data = {"status": Status.SUCCESS, "exit_code": 0, "truncated": True}
"""What is known of the execution that a hit repeats, when it is gone: only successful ones are given again."""


class Executions:
    """A user's executions in a mapping.

    Args:
        kv: The mapping.
        keys: The user's keys.
    """

    def __init__(self, kv: KeyValueStore, keys: Keys) -> None:
        self._kv = kv
        self._keys = keys
        self._journaled = 0

    def save(self, data: Data, used: bytes | None = None) -> None:
        """Stores an execution.

        Args:
            data: Its JSON object. A hit has `output_of`, the id of the execution that it repeats, and no output.
            used: The key of the cached result that was given.
        """
        value = encode(data)
        self._kv.journal(self._keys.owner, value, used)
        self._journaled += len(value) + _ROW
        if self._journaled >= _JOURNAL:
            self.settle()

    def settle(self, patience: float | None = None) -> None:
        """Gives what the journal holds its place: pending, or a result and part of the history.

        Args:
            patience: How long to wait for another process, in seconds; the mapping's timeout when None.
        """
        self._journaled = 0
        if self._kv.journal_is_empty():
            return
        self._kv.transaction(self._place_all, patience)

    def _place_all(self) -> None:
        for value, at in self._kv.take_journal(self._keys.owner):
            data = self._whole(value, {})
            if data is not None:
                self._place(data, at)

    def _place(self, data: Data, at: float) -> None:
        keys, pending = self._keys, self._keys.pending(data["id"])
        if data.get("status") == Status.PENDING:
            self._kv.set(pending, encode(data), at=at, **_LASTING)
            return
        self._kv.set(keys.result(data["id"]), encode(data), at=at, **_LASTING)
        self._kv.set(keys.history(data["project"], data["id"]), b"", at=at, **_LASTING)
        self._kv.discard(pending)

    def _whole(self, value: bytes, unplaced: dict[str, Data]) -> Data | None:
        """Gives a value of the journal; a hit with everything but the output of the execution that it repeats."""

        def complete(data: Data) -> Data:
            if "output_of" not in data:
                return execution_data(data)
            # Where it was evicted or deleted meanwhile, the hit was given all the same, and is kept.
            original = unplaced.get(data["output_of"]) or self._placed(data["output_of"], execution_data) or _LOST
            return execution_data(original | data | {"stdout": "", "stderr": "", "cached": True})

        return decode(value, complete)

    def _placed(self, execution_id: str, make: Callable[[Data], Data] = as_it_is) -> Data | None:
        return decode(self._kv.get(self._keys.result(execution_id)), make)

    def _unplaced(self) -> dict[str, Data]:
        """Gives by their ids the executions that have no place yet: none, unless the file cannot be written now."""
        try:
            self.settle(patience=0)
        except StoreError:
            unplaced: dict[str, Data] = {}
            for value in self._kv.read_journal(self._keys.owner):
                data = self._whole(value, unplaced)
                if data is not None:
                    unplaced[data["id"]] = data
            return unplaced
        return {}

    def _record(self, data: Data | None, unplaced: dict[str, Data]) -> ExecutionResult | None:
        """Gives the record of a JSON object, with the output of what it repeats; None when it is no execution's."""
        if data is None:
            return None
        try:
            record = execution(data)
        except (TypeError, ValueError):
            return None
        if "output_of" not in data:
            return record
        original = unplaced.get(data["output_of"]) or self._placed(data["output_of"]) or _LOST
        stdout, stderr = original.get("stdout"), original.get("stderr")
        if not isinstance(stdout, str) or not isinstance(stderr, str):
            return replace(record, truncated=True)
        return replace(record, stdout=stdout, stderr=stderr)

    def get(self, execution_id: str) -> ExecutionResult | None:
        """Gives an execution; None when there is none, or not any more."""
        unplaced = self._unplaced()
        return self._record(unplaced.get(execution_id) or self._stored(execution_id), unplaced)

    def _stored(self, execution_id: str) -> Data | None:
        return self._placed(execution_id) or decode(self._kv.get(self._keys.pending(execution_id)), as_it_is)

    def result(self, execution_id: str) -> ExecutionResult | None:
        """Gives an execution that has ended; the journal is looked through only when it is nowhere else."""
        # To settle is to commit, which would make every hit forget what the memory holds.
        return self._record(self._placed(execution_id), {}) or self.get(execution_id)

    def newest(self, project: str | None, before: str | None, page_size: int) -> Iterator[ExecutionResult]:
        """Gives executions, newest first, those that have not ended included.

        Args:
            project: Only this project's.
            before: Only those older than the execution of this id.
            page_size: How many to read at once.
        """
        unplaced = self._unplaced()
        recent = self._pending(unplaced) + [self._record(data, unplaced) for data in unplaced.values()]
        wanted = {
            record.id: record
            for record in recent
            if record and project in (None, record.project) and (before is None or record.id < before)
        }
        ended = (record for record in self._ended(project, before, page_size, unplaced) if record.id not in wanted)
        first = sorted(wanted.values(), key=lambda record: record.id, reverse=True)
        return heapq.merge(first, ended, key=lambda record: record.id, reverse=True)

    def _ended(
        self, project: str | None, before: str | None, page_size: int, unplaced: dict[str, Data]
    ) -> Iterator[ExecutionResult]:
        prefix = self._keys.result() if project is None else self._keys.history(project)
        bound = None if before is None else prefix + before.encode()
        while page := self._kv.page(prefix, limit=page_size, before=bound, reverse=True):
            bound = page[-1][0]
            for key, value in page:
                name = key[len(prefix) :].decode("utf-8", "replace")
                data = decode(value, as_it_is) if project is None else self._stored(name)
                record = self._record(data, unplaced)
                if record is not None and record.id == name:
                    yield record

    def pending(self, project: str | None) -> list[ExecutionResult]:
        """Gives the executions that have not ended, oldest first; of one project, or of all."""
        unplaced = self._unplaced()
        recent = [self._record(data, unplaced) for data in unplaced.values()]
        found = self._pending(unplaced) + [record for record in recent if record and record.status is Status.PENDING]
        return sorted((record for record in found if project in (None, record.project)), key=lambda record: record.id)

    def _pending(self, unplaced: dict[str, Data]) -> list[ExecutionResult]:
        records = []
        for key, value in self._kv.page(self._keys.pending(), limit=1000):
            record = self._record(decode(value, as_it_is), unplaced)
            if record is not None and record.id not in unplaced and key == self._keys.pending(record.id):
                records.append(record)
        return records
