"""Typed records: executions, history, cache and projects."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2b_magic.records import ExecutionResult, Project, Status, new_execution_id
from e2b_magic.store import KeyValueStore, Store

from .conftest import Clock

_ids = iter(range(1, 1_000_000))


def run(
    command: str = "ls", *, project: str = "web", status: Status = Status.SUCCESS, **more: object
) -> ExecutionResult:
    """Gives an execution; each one is a second younger than the one before."""
    began = float(next(_ids))
    record = ExecutionResult(id=new_execution_id(began), project=project, command=command, started_at=began)
    return replace(record, status=status, stdout="out\n", exit_code=0)


def test_an_execution_is_stored_pending_and_then_as_it_ended(store: Store) -> None:
    """The same id is first pending, then ended, and is in the history once."""
    ended = run()
    pending = replace(ended, status=Status.PENDING, stdout="", exit_code=None)
    store.save_execution(pending)
    assert (store.execution(ended.id), store.pending(), store.history("web")) == (pending, [pending], [pending])
    store.save_execution(ended)
    assert (store.execution(ended.id), store.pending(), store.history("web")) == (ended, [], [ended])


@given(st.text(alphabet=st.characters(), max_size=50))
def test_any_output_survives(text: str) -> None:
    """Whatever characters a command prints, lone surrogates included, come back."""
    import tempfile

    with tempfile.TemporaryDirectory() as directory, KeyValueStore(Path(directory) / "s.db") as kv:
        store = Store(kv)
        record = replace(run(), stdout=text)
        store.save_execution(record)
        assert store.execution(record.id) == record


def test_history_is_newest_first_and_paged(store: Store) -> None:
    """Pages follow one another without gap or overlap, for one project and for all."""
    records = [run(project="web" if number % 3 else "other") for number in range(25)]
    for record in records:
        store.save_execution(record)
    newest_first = records[::-1]
    assert store.history(limit=100) == newest_first
    pages, before = [], None
    while page := store.history("web", limit=4, before=before):
        pages += page
        before = page[-1].id
    assert pages == [record for record in newest_first if record.project == "web"]


def test_history_is_filtered(store: Store) -> None:
    """Status, text and time each narrow the history down."""
    first, second, third = run("make a"), run("make b", status=Status.FAILED), run("ls")
    for record in (first, second, third):
        store.save_execution(record)
    assert store.history(status=Status.FAILED) == [second]
    assert store.history(text="make") == [second, first]
    assert store.history(since=second.started_at) == [third, second]
    assert store.history(text="make", limit=1) == [second]


def test_results_live_for_seven_days(store: Store, clock: Clock) -> None:
    """An execution is there for seven days, and a project for good."""
    record = run()
    store.save_execution(record)
    store.update_project("web", port=80)
    clock.now += 7 * 86400 - 1
    assert store.execution(record.id) == record
    clock.now += 2
    assert (store.execution(record.id), store.history()) == (None, [])
    assert store.project("web") is not None


def test_a_hit_repeats_the_output_and_is_history(store: Store) -> None:
    """A hit has an id and a time of its own and the original's output, at once and read back later."""
    original = run()
    store.save_execution(original)
    store.cache_result("key", original)
    hit = store.take_cached("key", new_execution_id(), "session-2")
    assert hit is not None
    assert (hit.cached, hit.cached_at, hit.stdout, hit.session) == (True, original.started_at, "out\n", "session-2")
    assert store.execution(hit.id) == hit
    assert store.history() == [hit, original]
    info = store.cache_info()
    assert (info.entries, info.hits, info.misses) == (1, 1, 0)


def test_many_hits_are_all_in_the_history(store: Store) -> None:
    """However many hits there are, each is in the history."""
    original = run()
    store.save_execution(original)
    store.cache_result("key", original)
    hits = [store.take_cached("key", new_execution_id(), "s") for _ in range(250)]
    ids = {record.id for record in store.history(limit=1000)}
    assert {hit.id for hit in hits if hit} | {original.id} == ids
    assert len(ids) == 251


def test_a_miss_is_counted(store: Store) -> None:
    """A key that answers nothing gives None, and is counted."""
    assert store.take_cached("key", new_execution_id(), "s") is None
    assert store.cache_info().misses == 1


def test_cached_results_live_for_an_hour(store: Store, clock: Clock) -> None:
    """A cached result is given for an hour, also when it was given a moment ago, and its execution stays."""
    original = run()
    store.save_execution(original)
    store.cache_result("key", original)
    clock.now += 3599
    assert store.take_cached("key", new_execution_id(), "s") is not None
    clock.now += 1
    assert store.take_cached("key", new_execution_id(), "s") is None
    assert store.execution(original.id) == original


def test_clearing_from_elsewhere_is_seen_at_once(tmp_path: Path) -> None:
    """What another process clears is not given any more, though it was given a moment ago."""
    with KeyValueStore(tmp_path / "s.db") as one, KeyValueStore(tmp_path / "s.db") as other:
        store = Store(one)
        original = run()
        store.save_execution(original)
        store.cache_result("key", original)
        assert store.take_cached("key", new_execution_id(), "s") is not None
        assert Store(other).clear_cache() == 1
        assert store.take_cached("key", new_execution_id(), "s") is None


def test_users_do_not_see_each_other(kv: KeyValueStore) -> None:
    """Two users' records are apart, whatever slashes and percents their names and projects hold."""
    names = ["a", "a/exec_history", "a%2F", "a/", "", "b"]
    for name in names:
        store = Store(kv, user=name)
        store.save_execution(run(project=f"{name}/x"))
        store.update_project(f"{name}/x", port=len(name))
    for name in names:
        store = Store(kv, user=name)
        assert [record.project for record in store.history(f"{name}/x")] == [f"{name}/x"]
        assert [project.name for project in store.projects()] == [f"{name}/x"]
        assert len(store.history()) == 1


def test_projects_do_not_reach_into_each_other(store: Store) -> None:
    """A project whose name begins like another's has a history of its own."""
    for name in ("web", "web2", "web/../x", "we"):
        store.save_execution(run(project=name))
    assert [len(store.history(name)) for name in ("web", "web2", "web/../x", "we")] == [1, 1, 1, 1]


def test_a_project_is_changed_in_one_step(store: Store) -> None:
    """Threads that raise a project's revision lose none, and other fields stay as they are."""
    store.update_project("web", sandbox_id="s1")

    def raise_it() -> None:
        for _ in range(25):
            store.update_project("web", revision=lambda number: number + 1)

    threads = [threading.Thread(target=raise_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    project = store.project("web")
    assert project is not None
    assert (project.revision, project.sandbox_id) == (100, "s1")
    assert project.created_at == pytest.approx(time.time(), abs=60)


def test_a_record_of_a_newer_version_is_read(store: Store) -> None:
    """A field that this version does not know is passed over."""
    assert Project.from_json({"name": "web", "colour": "red"}) == Project(name="web")


def test_forgetting_a_project(store: Store) -> None:
    """A forgotten project is not listed any more; its history stays."""
    store.update_project("web")
    store.save_execution(run())
    assert store.forget_project("web")
    assert not store.forget_project("web")
    assert (store.projects(), len(store.history("web"))) == ([], 1)
