"""Forks and snapshots through the SDK: what a copy has, that it stands alone, and what it leaves of the original."""

from __future__ import annotations

import errno
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2b import Sandbox, SandboxNotFoundException
from e2b.exceptions import SandboxException

from e2b_magic.embedded import runtime
from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.endpoint import Endpoint
from e2b_magic.embedded.server import snapshots
from e2b_magic.embedded.server.sandboxes import Sandboxes
from e2b_magic.exceptions import ContainmentError
from tests.embedded.in_process import InProcess

pytestmark = pytest.mark.sandbox


def _forks(sandbox: Sandbox, **asked: Any) -> list[Sandbox]:
    forks = sandbox.fork(**asked)
    assert all(isinstance(fork, Sandbox) for fork in forks)
    return [fork for fork in forks if isinstance(fork, Sandbox)]


def test_a_fork_has_the_files_and_stands_alone(own_sandbox: Sandbox) -> None:
    """Forks have the original's files and none of each other's changes; the original's processes run on."""
    own_sandbox.files.write("note", "before")
    running = own_sandbox.commands.run("sleep 1000", background=True, timeout=0)
    first, second = _forks(own_sandbox, count=2, timeout=60)
    first.files.write("note", "changed")
    assert own_sandbox.files.read("note") == second.files.read("note") == "before"
    assert [process.pid for process in own_sandbox.commands.list()] == [running.pid]
    assert first.commands.list() == second.commands.list() == []
    assert first.kill()
    assert second.files.read("note") == "before"
    assert second.kill()
    assert own_sandbox.is_running()


def test_a_fork_is_what_the_original_was_asked_to_be(options: dict[str, Any]) -> None:
    """Variables, metadata and lifecycle are the original's; the id, the tokens and the time are its own."""
    with Sandbox.create(**options, envs={"OWN": "value"}, metadata={"a": "b"}, timeout=1000) as sandbox:
        (fork,) = _forks(sandbox, timeout=60)
        assert fork.commands.run("echo $OWN $E2B_SANDBOX_ID").stdout == f"value {fork.sandbox_id}\n"
        info = fork.get_info()
        assert info.metadata == {"a": "b"}
        assert (info.end_at - info.started_at).total_seconds() < 61
        assert fork._envd_access_token != sandbox._envd_access_token
        fork.kill()


def test_copies_stand_that_one_beside_them_failed(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three forks one cannot be copied and one not be started: each says so, the third runs, and nothing is left."""
    server = InProcess(launcher, tmp_path)
    try:
        with Sandbox.create(**server.options) as sandbox:
            _fail_second(monkeypatch, snapshots, "copy_state", ContainmentError("No user id is left."))
            _fail_second(monkeypatch, Sandboxes, "start", OSError(errno.EMFILE, "Too many open files"))
            forks = sandbox.fork(count=3, timeout=60)
            assert [type(fork) for fork in forks].count(Sandbox) == 1
            failures = [str(fork) for fork in forks if not isinstance(fork, Sandbox)]
            assert any("No user id is left" in failure for failure in failures)
            assert any("its log says why" in failure for failure in failures)
            assert len(server.sandboxes) == 2
            assert len(list(tmp_path.glob("i*"))) == 2
    finally:
        server.close()


def _fail_second(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, failure: Exception) -> None:
    """Has the second call of something that can fail do so."""
    act, calls = getattr(owner, name), itertools.count(1)

    def fail_once(*args: Any) -> Any:
        if next(calls) == 2:
            raise failure
        return act(*args)

    monkeypatch.setattr(owner, name, fail_once)


def test_a_fork_is_of_one_moment(own_sandbox: Sandbox) -> None:
    """Of two files that are always written one after the other a fork never has the second newer than the first."""
    write = "echo $i >new; mv new {}; "
    script = f"i=0; while true; do i=$((i+1)); {write.format('first')}{write.format('second')}done"
    own_sandbox.commands.run("echo 0 >first; echo 0 >second")
    own_sandbox.commands.run(script, background=True, timeout=0).disconnect()
    for _ in range(3):
        (fork,) = _forks(own_sandbox, timeout=60)
        first, second = (int(fork.files.read(name)) for name in ("first", "second"))
        assert first in (second, second + 1)
        fork.kill()


def test_the_original_may_be_killed_meanwhile(options: dict[str, Any]) -> None:
    """Killed while it is copied, a sandbox is gone, and the copy is whole."""
    original = Sandbox.create(**options)
    original.commands.run("head -c 400M /dev/zero >large && echo end >last")
    with ThreadPoolExecutor(1) as pool:
        forking = pool.submit(_forks, original, timeout=60)
        time.sleep(0.1)
        assert original.kill()
        try:
            (fork,) = forking.result()
        except SandboxNotFoundException:
            return  # it was killed before the copy began
    assert fork.files.read("last") == "end\n"
    assert not original.is_running()
    fork.kill()


@pytest.mark.parametrize("body", [{"count": 0}, {"count": 101}, {"count": True}, {"count": "1"}, {"timeout": -1}])
def test_a_wrong_fork_is_refused(control: httpx.Client, own_sandbox: Sandbox, body: dict[str, Any]) -> None:
    """What cannot be meant is named, and nothing is copied."""
    answer = control.post(f"/sandboxes/{own_sandbox.sandbox_id}/fork", json=body)
    assert answer.status_code == 400
    assert next(iter(body)) in answer.json()["message"]


def test_a_snapshot_makes_sandboxes(own_sandbox: Sandbox, options: dict[str, Any]) -> None:
    """Sandboxes made from a snapshot have its files and variables of their own, and do not change it."""
    own_sandbox.files.write("note", "then")
    snapshot = own_sandbox.create_snapshot()
    own_sandbox.files.write("note", "now")
    for _ in range(2):
        with Sandbox.create(snapshot.snapshot_id, envs={"OWN": "new"}, **options) as sandbox:
            assert sandbox.files.read("note") == "then"
            assert sandbox.commands.run("echo $OWN").stdout == "new\n"
            sandbox.files.write("note", "changed")
    assert Sandbox.delete_snapshot(snapshot.snapshot_id, **options)
    with pytest.raises(SandboxException, match="not found"):
        Sandbox.create(snapshot.snapshot_id, **options)


def test_a_name_means_the_latest_snapshot(own_sandbox: Sandbox, options: dict[str, Any]) -> None:
    """A name can be used again: it means the snapshot that was taken last, and the tag tells apart."""
    for tag, text in (("one", "1"), ("two", "2"), ("two", "3")):
        own_sandbox.files.write("note", text)
        told = own_sandbox.create_snapshot(name=f"again:{tag}")
        assert told.names == [f"local/again:{tag}"] == [told.snapshot_id]
    listed = Sandbox.list_snapshots(name="again", **options).next_items()
    assert [one.snapshot_id for one in listed] == ["local/again:two", "local/again:one"]
    for name, text in (("again:one", "1"), ("local/again:two", "3")):
        with Sandbox.create(name, **options) as sandbox:
            assert sandbox.files.read("note") == text
        assert Sandbox.delete_snapshot(name, **options)
    assert Sandbox.list_snapshots(name="again", **options).next_items() == []


def test_a_paused_sandbox_can_be_copied(own_sandbox: Sandbox, options: dict[str, Any]) -> None:
    """A snapshot of a paused sandbox has its files, and the sandbox stays paused."""
    own_sandbox.files.write("note", "paused")
    own_sandbox.pause()
    snapshot = own_sandbox.create_snapshot()
    assert not own_sandbox.is_running()
    with Sandbox.create(snapshot.snapshot_id, **options) as sandbox:
        assert sandbox.files.read("note") == "paused"
    Sandbox.delete_snapshot(snapshot.snapshot_id, **options)


def test_snapshots_come_in_pages(own_sandbox: Sandbox, options: dict[str, Any]) -> None:
    """A sandbox's snapshots are listed the youngest first, a page at a time."""
    taken = [own_sandbox.create_snapshot().snapshot_id for _ in range(3)]
    pages = Sandbox.list_snapshots(sandbox_id=own_sandbox.sandbox_id, limit=2, **options)
    first, second = pages.next_items(), pages.next_items()
    assert [one.snapshot_id for one in [*first, *second]] == taken[::-1]
    assert not pages.has_next
    for one in taken:
        Sandbox.delete_snapshot(one, **options)


@pytest.mark.parametrize("name", ["a b", "../x", "x/y", "base", ":tag", "x" * 200])
def test_a_wrong_name_is_refused(control: httpx.Client, own_sandbox: Sandbox, name: str) -> None:
    """A name that could not be given as a template's is refused, and no snapshot is taken."""
    before = control.get("/snapshots").json()
    answer = control.post(f"/sandboxes/{own_sandbox.sandbox_id}/snapshots", json={"name": name})
    assert answer.status_code == 400
    assert control.get("/snapshots").json() == before


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "nextToken=x", "nextToken=eA=="])
def test_a_wrong_query_is_refused(control: httpx.Client, query: str) -> None:
    """Each parameter of the list of snapshots is checked, and the answer names it."""
    answer = control.get(f"/snapshots?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["message"]


def test_a_snapshot_can_be_deleted_while_it_is_used(own_sandbox: Sandbox, options: dict[str, Any]) -> None:
    """Sandboxes that are being made from a snapshot as it is deleted have all of its files, or are not made."""
    own_sandbox.commands.run("mkdir d && cd d && for i in $(seq 2000); do echo $i >$i; done")
    snapshot = own_sandbox.create_snapshot()

    def make(_: int) -> int | None:
        try:
            with Sandbox.create(snapshot.snapshot_id, **options) as sandbox:
                return int(sandbox.commands.run("ls d | wc -l").stdout)
        except SandboxException:
            return None

    with ThreadPoolExecutor(3) as pool:
        made = pool.map(make, range(3))
        threading.Timer(0.1, lambda: Sandbox.delete_snapshot(snapshot.snapshot_id, **options)).start()
        assert set(made) <= {2000, None}


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Gives the directory of a server of the test's own, which is stopped afterwards."""
    yield tmp_path / "embedded"
    runtime.stop(tmp_path / "embedded")


def test_snapshots_outlive_the_server(directory: Path, options_for: Callable[[Endpoint], dict[str, Any]]) -> None:
    """The next server has the snapshots, except one that is damaged, and has removed what was half made."""
    options = options_for(runtime.ensure(directory))
    with Sandbox.create(**options, envs={"SECRET": "canary-value"}) as sandbox:
        sandbox.files.write("note", "kept")
        good, bad = sandbox.create_snapshot(name="good"), sandbox.create_snapshot(name="bad")
    runtime.stop(directory)
    snapshots = directory / "snapshots"
    files = {path.read_text().split('"name": "')[1].split('"')[0]: path for path in snapshots.glob("*/snapshot.json")}
    assert all(path.stat().st_mode & 0o777 == 0o600 and "canary" not in path.read_text() for path in files.values())
    files["bad"].write_text("{")
    (snapshots / ("s" + "0" * 20) / "home").mkdir(parents=True)
    options = options_for(runtime.ensure(directory))
    assert [one.snapshot_id for one in Sandbox.list_snapshots(**options).next_items()] == [good.snapshot_id]
    assert not (snapshots / ("s" + "0" * 20)).exists()
    assert files["bad"].parent.is_dir()
    with Sandbox.create("good", **options) as sandbox:
        assert sandbox.files.read("note") == "kept"
    with pytest.raises(SandboxException):
        Sandbox.create(bad.snapshot_id, **options)
