"""The file as a mapping: against a dict, against other programs, against time, space, damage and death."""

from __future__ import annotations

import os
import shelve
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2b_magic.exceptions import StoreBusyError, StoreError
from e2b_magic.store import KeyValueStore
from e2b_magic.store.schema import Kind

from .conftest import Clock

KEYS = st.binary(max_size=4)


def _python313() -> str | None:
    candidates = [shutil.which("python3.13"), *map(str, Path.home().glob(".pyenv/versions/3.13.*/bin/python3.13"))]
    for program in [sys.executable, *filter(None, candidates)]:
        told = subprocess.run([program, "-c", "import dbm.sqlite3"], check=False, capture_output=True)
        if told.returncode == 0:
            return program
    return None


def test_it_behaves_like_a_dict(kv: KeyValueStore) -> None:
    """The verbs of a mapping do what they do on a dict, in the order of the keys."""
    kv["b"] = "2"
    kv[b"a"] = b"1"
    assert dict(kv) == {b"a": b"1", b"b": b"2"}
    assert (kv["a"], len(kv), b"c" in kv, kv.get(b"c")) == (b"1", 2, False, None)
    del kv["a"]
    assert list(kv) == [b"b"]
    with pytest.raises(KeyError):
        kv["a"]
    with pytest.raises(KeyError):
        del kv["a"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=8)), max_size=20),
    KEYS,
    st.integers(1, 5),
    st.booleans(),
)
def test_any_history_leaves_what_a_dict_holds(
    kv: KeyValueStore, steps: list[tuple[bytes, bytes | None]], prefix: bytes, limit: int, reverse: bool
) -> None:
    """After any sets and deletes the content, every page and the file's own sums agree with a dict's."""
    kv.delete_prefix(b"")
    model: dict[bytes, bytes] = {}
    for key, value in steps:
        if value is None:
            assert kv.pop(key, None) == model.pop(key, None)
        else:
            kv[key] = model[key] = value
    assert dict(kv) == model
    wanted = sorted(((key, value) for key, value in model.items() if key.startswith(prefix)), reverse=reverse)
    assert kv.page(prefix, limit=limit, reverse=reverse) == wanted[:limit]
    rest = {"before" if reverse else "after": wanted[0][0]} if wanted else {}
    assert kv.page(prefix, reverse=reverse, **rest) == wanted[1:]  # type: ignore[arg-type]
    assert kv.check() == []
    assert kv.delete_prefix(prefix) == len(wanted)
    assert kv.totals().bytes == sum(len(key) + len(kv[key]) for key in kv)


@pytest.mark.parametrize("wrong", [3, None, 1.5, ["a"]])
def test_keys_and_values_are_bytes_or_text(kv: KeyValueStore, wrong: object) -> None:
    """Anything else, a number above all, is a TypeError that says so, and stores nothing."""
    with pytest.raises(TypeError, match=f"bytes or str, not {type(wrong).__name__}"):
        kv[wrong] = "x"  # type: ignore[index]  # what a caller without types may do
    with pytest.raises(TypeError, match=f"bytes or str, not {type(wrong).__name__}"):
        kv["k"] = wrong  # type: ignore[assignment]  # the same
    assert dict(kv) == {}


def test_shelve_works_on_it(kv: KeyValueStore) -> None:
    """`shelve.Shelf` takes the mapping for the dbm that it is."""
    shelf: shelve.Shelf[list[int]] = shelve.Shelf(kv)
    with shelf:
        shelf["numbers"] = [1, 2, 3]
        assert shelf["numbers"] == [1, 2, 3]
        assert list(shelf) == ["numbers"]


def test_dbm_opens_the_file(kv: KeyValueStore) -> None:
    """Python 3.13's `dbm.open` and `shelve.open` read what is there and write what is then found here."""
    program = _python313()
    if program is None:
        pytest.skip("no Python with dbm.sqlite3 on this machine")
    kv["ours"] = "1"
    code = (
        "import dbm, shelve, sys\n"
        "assert dbm.whichdb(sys.argv[1]) == 'dbm.sqlite3'\n"
        "with dbm.open(sys.argv[1], 'w') as d:\n"
        "    assert d[b'ours'] == b'1'; d[b'theirs'] = b'22'; d[b'ours'] = b'333'; d[b'gone'] = b''; del d[b'gone']\n"
    )
    subprocess.run([program, "-c", code, str(kv.path)], check=True)
    assert dict(kv) == {b"ours": b"333", b"theirs": b"22"}
    assert kv.check() == []


def test_a_file_made_by_dbm_is_taken_over(tmp_path: Path) -> None:
    """A file that holds the one table of `dbm.sqlite3` and nothing else gets the rest, and is complete."""
    path = tmp_path / "made.db"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)")
        raw.execute("INSERT INTO Dict VALUES (CAST('k' AS BLOB), CAST('v' AS BLOB))")
    raw.close()
    with KeyValueStore(path) as kv:
        assert dict(kv) == {b"k": b"v"}
        assert kv.check() == []


def test_entries_expire(kv: KeyValueStore, clock: Clock) -> None:
    """An entry is there until its time is over, and not after."""
    kv.set("k", "v", lifetime=10)
    clock.now += 9.9
    assert kv["k"] == b"v"
    clock.now += 0.1
    assert (kv.get(b"k"), len(kv), list(kv), kv.page("")) == (None, 0, [], [])


@pytest.mark.parametrize("jump", [365 * 86400, -365 * 86400])
def test_a_clock_that_jumps_lets_nothing_live_for_ever(kv: KeyValueStore, clock: Clock, jump: float) -> None:
    """After a jump of a year in either direction an expiring entry is gone, and a kept one is there."""
    kv.set("k", "v", lifetime=3600)
    kv["kept"] = "v"
    clock.now += jump
    assert dict(kv) == {b"kept": b"v"}


def test_expired_entries_are_swept(kv: KeyValueStore, clock: Clock) -> None:
    """What has expired takes no space for long, even when nobody asks for it again."""
    for number in range(100):
        kv.set(f"old{number}", "x" * 100, lifetime=10)
    clock.now += 11
    for number in range(200):
        kv[f"new{number % 10}"] = "y"
    assert kv.totals().bytes < 100


def test_space_is_bounded(tmp_path: Path, clock: Clock) -> None:
    """When space runs out the least recently used cache entries go first, then the oldest results, kept ones never."""
    with KeyValueStore(tmp_path / "small.db", space=10_000, clock=clock) as kv:
        for kind in (Kind.KEPT, Kind.RESULT, Kind.CACHE):
            for number in range(3):
                clock.now += 1
                kv.set(f"{kind.name}{number}", "x" * 1000, kind=kind)
        clock.now += 1
        kv.journal(b"me", b"", used=b"CACHE0")
        kv.take_journal(b"me")
        clock.now += 1
        kv["big"] = "x" * 1700
        assert {b"CACHE1", b"CACHE2"}.isdisjoint(kv)
        assert {b"CACHE0", b"RESULT0", b"KEPT0", b"big"} <= set(kv)
        kv["big2"] = "x" * 3000
        assert b"CACHE0" not in kv
        assert b"RESULT0" not in kv
        assert {b"KEPT0", b"KEPT1", b"KEPT2", b"big", b"big2"} <= set(kv)
        assert kv.totals().bytes <= 10_000
        assert kv.check() == []


def test_only_the_owner_can_read(kv: KeyValueStore) -> None:
    """The directory is 0700, the file and what SQLite puts beside it 0600, whatever the umask."""
    kv["k"] = "v"
    assert stat.S_IMODE(kv.path.parent.stat().st_mode) == 0o700
    for file in kv.path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    """A file that is no database is kept under another name, said so, and a new one begun."""
    path = tmp_path / "store.db"
    path.write_bytes(b"not a database at all" * 500)
    with KeyValueStore(path) as kv:
        with pytest.warns(UserWarning, match="was damaged: it is set aside"):
            kv["k"] = "v"
        assert kv["k"] == b"v"
    (aside,) = tmp_path.glob("store.db.corrupt-*")
    assert aside.read_bytes().startswith(b"not a database")


def test_damage_while_it_is_open_is_met(tmp_path: Path) -> None:
    """When the file breaks under an open mapping, one call fails with a StoreError and the next one goes on anew."""
    path = tmp_path / "store.db"
    with KeyValueStore(path) as kv:
        for number in range(500):
            kv[f"key{number}"] = "x" * 200
        kv.close()
    with KeyValueStore(path) as kv:
        body = bytearray(path.read_bytes())
        body[4096:] = os.urandom(len(body) - 4096)
        assert kv.state()
        path.write_bytes(body)
        with pytest.raises(StoreError), pytest.warns(UserWarning, match="set aside"):
            dict(kv)
        kv["k"] = "v"
        assert dict(kv) == {b"k": b"v"}


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Where no file can be made, each call raises a StoreError that names the place."""
    (tmp_path / "file").write_text("")
    with (
        KeyValueStore(tmp_path / "file" / "store.db") as kv,
        pytest.raises(StoreError, match=r"/file/store\.db: [^/]*: set E2B_MAGIC_DIRECTORY to"),
    ):
        kv["k"] = "v"


def test_a_full_disk_undoes_the_write(kv: KeyValueStore) -> None:
    """When the disk is full a write raises a StoreError, reads go on, and the file is whole."""
    kv["k"] = "v"
    (pages,) = kv._connection.read(lambda raw: raw.execute("PRAGMA page_count").fetchone())
    kv._connection.read(lambda raw: raw.execute(f"PRAGMA max_page_count = {pages + 2}"))
    with pytest.raises(StoreError, match="full"):
        kv["big"] = "x" * 100_000
    assert dict(kv) == {b"k": b"v"}
    kv["small"] = "v"
    assert kv.check() == []


def test_a_busy_file_is_waited_for_and_then_named(tmp_path: Path) -> None:
    """A write waits for another process's transaction, and after the timeout raises a StoreBusyError."""
    path = tmp_path / "store.db"
    with KeyValueStore(path, busy_timeout=0.2) as kv, KeyValueStore(path) as other:
        kv["k"] = "v"

        def find_it_busy() -> None:
            with pytest.raises(StoreBusyError, match=r"0\.2 s"):
                kv["k"] = "w"

        other.transaction(find_it_busy)
        kv["k"] = "x"
        assert other["k"] == b"x"


def test_an_error_inside_a_transaction_undoes_it(kv: KeyValueStore) -> None:
    """What belongs together is stored together or not at all."""

    def half_way() -> None:
        kv["a"] = "1"
        raise LookupError

    with pytest.raises(LookupError):
        kv.transaction(half_way)
    assert dict(kv) == {}


def _bump(kv: KeyValueStore, count: int) -> None:
    for _ in range(count):
        kv.change("counter", lambda value: str(int(value or b"0") + 1).encode())


BUMPER = """
import sys
from pathlib import Path
from e2b_magic.store import KeyValueStore
with KeyValueStore(Path(sys.argv[1])) as kv:
    for _ in range(100):
        kv.change("counter", lambda value: str(int(value or b"0") + 1).encode())
"""


def test_threads_lose_no_change(kv: KeyValueStore) -> None:
    """Eight threads that count together lose no step."""
    threads = [threading.Thread(target=_bump, args=(kv, 50)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kv["counter"] == b"400"


def test_processes_lose_no_change(kv: KeyValueStore) -> None:
    """Three processes that count together lose no step."""
    children = [subprocess.Popen([sys.executable, "-c", BUMPER, str(kv.path)]) for _ in range(3)]
    _bump(kv, 100)
    assert [child.wait() for child in children] == [0, 0, 0]
    assert kv["counter"] == b"400"
    assert kv.check() == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_connection_of_its_own(kv: KeyValueStore) -> None:
    """After a fork parent and child both write, and the file stays whole."""
    kv["k"] = "v"
    child = os.fork()
    if child == 0:
        kv["child"] = "c"
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    kv["parent"] = "p"
    assert dict(kv) == {b"child": b"c", b"k": b"v", b"parent": b"p"}
    assert kv.check() == []


def test_changes_from_elsewhere_are_noticed(tmp_path: Path) -> None:
    """The state changes with every write to a key, from here and from elsewhere, and with nothing else."""
    path = tmp_path / "store.db"
    with KeyValueStore(path) as kv, KeyValueStore(path) as other:
        states = [kv.state()]
        kv["a"] = "1"
        states.append(kv.state())
        other["a"] = "2"
        states.append(kv.state())
        assert len(set(states)) == 3
        kv["a"]
        kv.journal(b"me", b"x", used=b"a")
        assert kv.state() == states[-1]


WRITER = """
import sys
from pathlib import Path
from e2b_magic.store import open_store
from e2b_magic.records import ExecutionResult, Status, new_execution_id
store = open_store(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    record = ExecutionResult(id=new_execution_id(), project="p", command="c", stdout="x" * 3000)
    store.save_execution(record)
    print("P", record.id, flush=True)
    store.save_execution(ExecutionResult.from_json(record.to_json() | {"status": "success", "exit_code": 0}))
    print("S", record.id, flush=True)
"""


@pytest.mark.slow
def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Fifty times a process is killed with -9 while it stores: every acknowledged record is there, and whole."""
    from e2b_magic.records import Status
    from e2b_magic.store import open_store

    acknowledged: dict[str, str] = {}
    for turn in range(50):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(4 + turn % 11)]
            child.send_signal(signal.SIGKILL)
            lines += child.stdout.readlines()
        # The last line may have been cut by the kill.
        for line in lines[1:-1]:
            kind, name = line.split()
            acknowledged[name] = kind
    store = open_store(tmp_path)
    for name, kind in acknowledged.items():
        record = store.execution(name)
        assert record is not None
        assert len(record.stdout) == 3000
        assert kind == "P" or record.status is Status.SUCCESS
    assert len(acknowledged) > 50
    assert store.kv.check() == []
    store.close()
