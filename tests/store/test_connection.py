"""The one connection of a mapping: damage, files that vanish, forks, other processes, and what cannot be written."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2b_magic.exceptions import StoreError
from e2b_magic.store import KeyValueStore, Store
from tests.interrupting import finalizers_pass_over_it, interrupted


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Gives a place for a file."""
    return tmp_path / "store.db"


def _damage(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[4096:] = b"\xff" * (len(body) - 4096)
    path.write_bytes(body)


def _filled(path: Path) -> None:
    with KeyValueStore(path) as kv:
        kv.transaction(lambda: kv.update({f"key{number}".encode(): b"x" * 200 for number in range(500)}))


def _in_child(check: Callable[[], bool]) -> int:
    """Gives the status of a forked child that ran a check: 0 when it held; one that hangs is killed."""
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        held = False
        try:
            held = check()
        finally:
            os._exit(0 if held else 1)
    return os.waitpid(child, 0)[1]


def test_only_the_damaged_file_is_set_aside(path: Path) -> None:
    """Who meets damage in a file that another has replaced since leaves the new file alone."""
    _filled(path)
    old, other = KeyValueStore(path), KeyValueStore(path)
    assert old["key0"]
    _damage(path)
    with pytest.raises(StoreError), pytest.warns(UserWarning, match="set aside"):
        dict(other)
    other["new"] = "acknowledged"
    assert old["new"] == b"acknowledged"
    assert len(list(path.parent.glob("*.corrupt-*[0-9]"))) == 1
    old.close()
    other.close()


def test_damage_met_in_the_middle_leaves_the_new_file_alone(path: Path) -> None:
    """Also where the new file comes between the read and its failure, it is not set aside."""
    _filled(path)
    with KeyValueStore(path) as kv, KeyValueStore(path) as other:

        def read(_: sqlite3.Connection) -> None:
            path.unlink()
            other["new"] = "acknowledged"
            _raise_damage(path.with_name("elsewhere.db"))

        with pytest.raises(StoreError, match="not a database"):
            kv._connection.read(read)
        assert kv["new"] == b"acknowledged"
    assert not list(path.parent.glob("*.corrupt-*"))


def _raise_damage(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 500)
    raw = sqlite3.connect(path)
    try:
        raw.execute("SELECT * FROM sqlite_master")
    finally:
        raw.close()


def test_each_damaged_file_is_kept(path: Path) -> None:
    """Two damaged files within a second are both kept, each with the -wal that lay beside it."""
    for body in (b"first" * 999, b"second" * 999):
        path.write_bytes(body)
        path.with_name("store.db-wal").write_bytes(b"wal of " + body)
        with KeyValueStore(path) as kv, pytest.warns(UserWarning, match="set aside"):
            kv["k"] = "v"
    kept = {file.read_bytes()[:5]: file for file in path.parent.glob("*.corrupt-*[0-9]")}
    assert set(kept) == {b"first", b"secon"}
    for start, file in kept.items():
        assert Path(f"{file}-wal").read_bytes().startswith(b"wal of " + start)


@pytest.mark.parametrize("write", ["set", "journal"])
def test_a_file_deleted_while_open_is_begun_anew(path: Path, write: str) -> None:
    """What is written after somebody has deleted the file is found by the next who opens it."""
    with KeyValueStore(path) as kv:
        kv["a"] = "1"
        for file in path.parent.iterdir():
            file.unlink()
        if write == "set":
            kv["b"] = "2"
        else:
            kv.journal(b"me", b"2")
        with KeyValueStore(path) as other:
            assert other.get(b"b") == (b"2" if write == "set" else None)
            assert [value for value, _ in other.take_journal(b"me")] == ([] if write == "set" else [b"2"])


def test_a_file_replaced_while_open_is_read(path: Path) -> None:
    """When another file is put in place of the open one, reads are of the new file, remembered records soon too."""
    with KeyValueStore(path) as kv, KeyValueStore(path.with_name("new.db")) as other:
        store = Store(kv)
        store.update_project("web", port=1)
        assert store.project("web") is not None
        Store(other).update_project("web", port=2)
        other.close()
        path.with_name("new.db").rename(path)
        time.sleep(0.05)  # what is remembered may be given for 20 ms more
        found = store.project("web")
        assert found is not None
        assert found.port == 2


def test_opening_again_drops_no_locks(path: Path) -> None:
    """A second opening in this process leaves the first one's locks: else another process would delete its -wal."""
    with KeyValueStore(path) as first:
        first["a"] = "1"
        wal = path.with_name("store.db-wal").stat().st_ino
        with KeyValueStore(path) as second:
            assert second["a"] == b"1"
            code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM Dict'); c.close()"
            subprocess.run([sys.executable, "-c", code, str(path)], check=True)
            assert path.with_name("store.db-wal").stat().st_ino == wal


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_beside_a_transaction_does_not_hang(path: Path) -> None:
    """A child forked while another thread is inside a transaction reads at once, and nothing of the transaction."""
    with KeyValueStore(path) as kv:
        kv["k"] = "v"
        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            kv["k"] = "w"
            held.set()
            done.wait()

        thread = threading.Thread(target=kv.transaction, args=(hold,))
        thread.start()
        held.wait()
        status = _in_child(lambda: kv["k"] == b"v")
        done.set()
        thread.join()
        assert status == 0
        assert kv["k"] == b"w"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_inside_a_transaction_commits_once(path: Path) -> None:
    """A child forked inside its thread's own transaction cannot commit it; the parent can."""
    with KeyValueStore(path) as kv:

        def fork() -> int:
            kv["k"] = "v"
            return os.fork()

        try:
            child = kv.transaction(fork)
        except StoreError as error:  # this is the child
            os._exit(0 if "forked" in str(error) else 1)
        if child == 0:
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert kv["k"] == b"v"
        assert kv.check() == []


@pytest.fixture
def busy(path: Path) -> Iterator[sqlite3.Connection]:
    """Gives another program's connection, which holds the file for writing."""
    with KeyValueStore(path) as kv:
        kv["k"] = "v"
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    yield raw
    raw.close()


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("write", ["set", "journal"])
def test_an_interrupt_is_felt_while_waiting(path: Path, write: str) -> None:
    """Ctrl-C ends the wait for a busy file at once, and what follows works."""
    with KeyValueStore(path, busy_timeout=60) as kv:
        kv["k"]
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        began = time.monotonic()
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            kv.set("k", "w") if write == "set" else kv.journal(b"me", b"x")
        assert time.monotonic() - began < 30
        assert kv["k"] == b"v"


def test_a_waiting_writer_holds_up_no_reader(path: Path, busy: sqlite3.Connection) -> None:
    """While one thread waits to write, others read; then the writer gets its turn."""
    with KeyValueStore(path, busy_timeout=60) as kv:
        kv["k"]
        writer = threading.Thread(target=kv.set, args=("k", "w"))
        writer.start()
        time.sleep(0.1)
        began = time.monotonic()
        assert kv["k"] == b"v"
        assert time.monotonic() - began < 30
        assert writer.is_alive()
        busy.execute("COMMIT")
        writer.join()
        assert kv["k"] == b"w"


def test_what_a_transaction_read_and_undid_is_not_remembered(path: Path) -> None:
    """A project read inside a transaction that was undone is read anew afterwards."""
    with KeyValueStore(path) as kv:
        store = Store(kv)
        store.update_project("web", port=1)

        def half_way() -> None:
            store.update_project("web", port=2)
            assert store.project("web") is not None
            raise LookupError

        with pytest.raises(LookupError):
            kv.transaction(half_way)
        found = store.project("web")
        assert found is not None
        assert found.port == 1


def test_a_file_that_everybody_may_read_is_made_private(path: Path) -> None:
    """`dbm.open` makes files with mode 0644; once used here only the owner may read it."""
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)")
    raw.close()
    path.chmod(0o644)
    with KeyValueStore(path) as kv:
        kv["k"] = "v"
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


@pytest.fixture
def open_place() -> Iterator[Path]:
    """Gives a directory that every user can reach, unlike one of pytest's."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)
        Path(directory).chmod(0o755)


def _as_somebody_else(check: Callable[[], bool]) -> int:
    """Runs a check in a child to which permissions apply, which they do not to root."""

    def lowered() -> bool:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        return check()

    return _in_child(lowered)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("made_by", ["us", "dbm", "nobody"])
@pytest.mark.parametrize("left_open", [False, True])
def test_reads_go_on_where_nothing_can_be_written(open_place: Path, made_by: str, left_open: bool) -> None:
    """In a read-only place what is there is read, whoever made it, and a write raises a StoreError."""
    path = open_place / "store.db"
    kv = KeyValueStore(path)
    if made_by == "us":
        kv["k"] = "v"
    elif made_by == "dbm":
        with sqlite3.connect(path) as raw:
            raw.execute("CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)")
            raw.execute("INSERT INTO Dict VALUES (CAST('k' AS BLOB), CAST('v' AS BLOB))")
        raw.close()
    if not left_open:
        kv.close()
    for file in open_place.iterdir():
        file.chmod(0o444)
    open_place.chmod(0o555)

    def check() -> bool:
        with KeyValueStore(path) as reader:
            store = Store(reader)
            found = [dict(reader), store.history(), store.projects(), store.cache_info().hits]
            with pytest.raises(StoreError, match="store"):
                reader["k"] = "w"
        return found == [{} if made_by == "nobody" else {b"k": b"v"}, [], [], 0]

    assert _as_somebody_else(check) == 0
    kv.close()


WORK: dict[str, Callable[[KeyValueStore], object]] = {
    "read": lambda kv: kv["k"],
    "write": lambda kv: kv.set("k", "w"),
    "change": lambda kv: kv.change("k", lambda value: value or b""),
    "append": lambda kv: kv.journal(b"me", b"2"),
    "state": lambda kv: kv.state(),
}


@finalizers_pass_over_it
@pytest.mark.parametrize("opened", [False, True], ids=["new", "open"])
@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_an_interrupt_at_any_step_shuts_nobody_out(
    path: Path, work: Callable[[KeyValueStore], object], opened: bool
) -> None:
    """Wherever a Ctrl-C comes, and while its traceback is kept, other threads and processes read and write on."""
    with KeyValueStore(path, busy_timeout=0) as other:
        other["k"] = "v"
        for step in range(1000):
            with KeyValueStore(path) as kv:
                if opened:
                    kv["k"]
                came = interrupted(step, lambda: work(kv))
                told: list[bytes] = []
                thread = threading.Thread(target=lambda: told.append(kv["k"]), daemon=True)  # noqa: B023  joined below
                thread.start()
                thread.join(5)
                assert told in ([b"v"], [b"w"]), f"at step {step}"
                other["k"] = "v"
                kv["mine"] = str(step)
                assert other["mine"] == str(step).encode(), f"at step {step}"
            if came is None:
                break
        assert 3 < step < 999
