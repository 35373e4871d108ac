"""What is read stays readable: beside foreign values, without its original, and while nothing can be written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from e2b_magic.records import ExecutionResult, Status, new_execution_id
from e2b_magic.store import KeyValueStore, Store

FOREIGN = [
    "not json",
    b"\xff\xfe",
    "3",
    "[]",
    "{}",
    "null",
    "[" * 100_000,
    '{"id": 3, "project": "web", "command": "ls"}',
    '{"id": "zz", "project": "web", "command": "ls", "status": "odd"}',
    '{"id": "zz", "project": "web", "command": "ls", "stdout": null}',
]


def run(**more: object) -> ExecutionResult:
    """Gives an execution that has ended."""
    record = ExecutionResult(id=new_execution_id(), project="web", command="ls", stdout="out\n", exit_code=0)
    return ExecutionResult.from_json(replace(record, status=Status.SUCCESS).to_json() | more)


def read_all(store: Store) -> list[ExecutionResult]:
    """Reads whatever can be read, and gives the history."""
    assert store.history("web") == store.history()
    store.pending()
    store.cache_info()
    store.projects()
    store.project("web")
    return store.history()


@pytest.mark.parametrize("value", FOREIGN)
def test_foreign_values_are_passed_over(store: Store, value: str | bytes) -> None:
    """Whatever another program stores under a key of ours, the rest is read, and nothing but a StoreError raised."""
    record = run()
    store.save_execution(record)
    for word in ("exec_result/zz", "exec_pending/zz", "exec_history/web/zz", "project_meta/web", "cache_cmd/key"):
        store.kv[f"local/{word}"] = value
    assert read_all(store) == [record]
    assert (store.execution("zz"), store.projects(), store.take_cached("key", new_execution_id(), "s")) == (
        None,
        [],
        None,
    )
    assert store.clear_cache(command="ls") == 1
    assert store.update_project("web", port=80).port == 80
    assert read_all(store) == [record]


@pytest.mark.parametrize("value", [*FOREIGN, '{"id": "zz", "output_of": "yy"}'])
def test_foreign_values_in_the_journal_are_passed_over(store: Store, value: str | bytes) -> None:
    """What cannot be given a place holds up nothing that stands behind it."""
    record = run()
    store.kv.journal(b"local", value.encode() if isinstance(value, str) else value)
    store.save_execution(record)
    assert read_all(store) == [record]
    assert store.kv.journal_is_empty()


def test_a_value_that_is_not_bytes_is_read(store: Store) -> None:
    """Text or a number that another program put beside our bytes ends no reading."""
    record = run()
    store.save_execution(record)
    assert read_all(store) == [record]
    rows = (
        "INSERT INTO Dict VALUES (CAST('local/exec_result/zz' AS BLOB), 'text'), "
        "(CAST('local/exec_pending/zz' AS BLOB), 7)"
    )
    store.kv._connection.write(lambda raw: raw.execute(rows))
    assert read_all(store) == [record]
    assert store.kv["local/exec_pending/zz"] == b"7"


def test_a_project_begun_again_honours_no_older_result(store: Store) -> None:
    """In place of a project that cannot be read comes one with a higher revision than it can have had."""
    store.update_project("web", revision=7)
    store.kv["local/project_meta/web"] = "not json"
    assert store.update_project("web", port=1).revision > 1_000_000


@pytest.mark.parametrize("loss", ["discarded", "overwritten"])
@pytest.mark.parametrize("settled", [False, True])
def test_a_hit_outlives_its_original(store: Store, loss: str, settled: bool) -> None:
    """A hit whose original is gone stays in the history, with no output, which is marked as truncated."""
    original = run()
    store.save_execution(original)
    store.cache_result("key", original)
    hit = store.take_cached("key", new_execution_id(), "me")
    assert hit is not None
    if settled:
        assert len(read_all(store)) == 2
    name = f"local/exec_result/{original.id}"
    if loss == "overwritten":
        store.kv[name] = "not json"
    else:
        store.kv.discard(name)
        store.kv.discard(f"local/exec_history/web/{original.id}")
    lost = replace(hit, stdout="", truncated=True)
    assert read_all(store) == [lost]
    assert store.execution(hit.id) == lost


def test_a_hit_repeats_what_is_left_of_its_original(store: Store) -> None:
    """An original that another program has written anew, with less in it, ends no reading of its hits."""
    original = run()
    store.save_execution(original)
    store.cache_result("key", original)
    hit = store.take_cached("key", new_execution_id(), "me")
    assert hit is not None
    assert len(read_all(store)) == 2
    store.kv[f"local/exec_result/{original.id}"] = f'{{"id": "{original.id}", "project": "web", "command": "ls"}}'
    assert store.execution(hit.id) == replace(hit, stdout="", truncated=True)


@pytest.fixture
def busy(store: Store) -> Iterator[sqlite3.Connection]:
    """Gives another program's connection, which may hold the file."""
    store.kv["k"] = "v"
    raw = sqlite3.connect(store.kv.path, isolation_level=None)
    yield raw
    raw.close()


def test_what_has_no_place_yet_is_read_while_another_writes(store: Store, busy: sqlite3.Connection) -> None:
    """Ended, pending and cached executions in the journal are read at once, though another process writes."""
    placed, original = run(), run()
    pending = replace(run(), status=Status.PENDING, stdout="", exit_code=None)
    store.save_execution(placed)
    store.save_execution(replace(pending, id=placed.id[:-1] + "~", status=Status.PENDING))
    assert len(store.history()) == 2
    store.save_execution(replace(pending, id=placed.id[:-1] + "~", status=Status.SUCCESS, exit_code=0))
    store.save_execution(original)
    store.cache_result("key", original)
    store.save_execution(pending)
    hit = store.take_cached("key", new_execution_id(), "me")
    assert hit is not None
    busy.execute("BEGIN IMMEDIATE")
    while_busy = (store.history(), store.history("web", limit=2), store.pending(), store.execution(hit.id))
    assert store.take_cached("none", new_execution_id(), "me") is None
    busy.execute("COMMIT")
    assert while_busy == (store.history(), store.history("web", limit=2), store.pending(), store.execution(hit.id))
    assert len(while_busy[0]) == 5
    assert while_busy[2] == [pending]


def test_pending_of_one_project(store: Store) -> None:
    """What has not ended is given for all projects, or for one."""
    web, other = run(status="pending"), run(status="pending", project="other")
    store.save_execution(web)
    store.save_execution(other)
    assert (store.pending(), store.pending("web"), store.pending("none")) == ([web, other], [web], [])


def test_a_hit_is_given_though_it_cannot_be_stored(tmp_path: Path) -> None:
    """A cached result is given also while nothing can be written."""
    path = tmp_path / "store.db"
    with KeyValueStore(path, busy_timeout=0.1) as kv:
        store, original = Store(kv), run()
        store.save_execution(original)
        store.cache_result("key", original)
        raw = sqlite3.connect(path, isolation_level=None)
        raw.execute("BEGIN IMMEDIATE")
        hit = store.take_cached("key", new_execution_id(), "me")
        raw.close()
        assert hit is not None
        assert (hit.stdout, hit.cached) == ("out\n", True)
