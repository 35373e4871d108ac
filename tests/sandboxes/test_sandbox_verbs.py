"""A project's sandbox made, kept longer, listed, collected when nobody owns it; on a real embedded server."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from e2b_magic.client import Client, orphans
from e2b_magic.config import Configuration
from e2b_magic.embedded import runtime
from e2b_magic.exceptions import InvalidRequestError, StoreError
from e2b_magic.store import open_store

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def jupyter(start_jupyter: Callable[[], Any]) -> Any:
    """Gives a Jupyter server, for the tests whose worker is behind one."""
    return start_jupyter()


@pytest.fixture(params=["in-process", "http"])
def client(request: pytest.FixtureRequest, configuration: Configuration, tmp_path: Path) -> Iterator[Client]:
    """Gives a client on an embedded server of the test's own, which is stopped afterwards."""
    served = configuration.directory
    if request.param == "http":
        server = request.getfixturevalue("jupyter")
        configuration, served = server.configuration(tmp_path / "e2b-magic"), server.directory
    client = Client(configuration)
    yield client
    client.close()
    runtime.stop(served / "embedded")


def test_a_sandbox_is_made_before_anything_runs(client: Client) -> None:
    """`create_sandbox` makes one, refuses a second, and replaces it, files and all, when it is told to."""
    first = client.create_sandbox()
    assert (first.state, first.project, first.template) == ("running", "default", "base")
    assert client.get_project_info().sandbox_id == first.sandbox_id
    client.execute_command("touch here")
    with pytest.raises(InvalidRequestError, match=f"has a sandbox already, {first.sandbox_id}"):
        client.create_sandbox()
    second = client.create_sandbox(replace=True)
    assert second.sandbox_id != first.sandbox_id
    assert client.execute_command("ls").stdout == ""
    assert [one.sandbox_id for one in client.list_sandboxes()] == [second.sandbox_id]


def test_time_is_extended_and_never_shortened(client: Client) -> None:
    """`extend_sandbox` moves the end outwards; asked for less than there is, it changes nothing."""
    client.create_sandbox()
    longer = client.extend_sandbox(2 * 3600)
    assert longer.expires_at == pytest.approx(time.time() + 2 * 3600, abs=30)
    assert client.extend_sandbox(60).expires_at == longer.expires_at
    assert client.get_project_info().sandbox_expires_at == longer.expires_at


def test_a_time_that_was_extended_is_not_forgotten(client: Client) -> None:
    """A command that follows `extend_sandbox` tells of the sandbox's new end, not of the one before."""
    client.execute_command("true", use_cache=False)
    longer = client.extend_sandbox(12 * 3600)
    client.execute_command("true", use_cache=False)
    assert client.get_project_info().sandbox_expires_at == longer.expires_at


def test_a_timeout_is_set_and_kept(client: Client) -> None:
    """`set_sandbox_timeout` may shorten, and each later use of the sandbox moves its end by as much and no more."""
    client.create_sandbox()
    assert client.set_sandbox_timeout(600).expires_at == pytest.approx(time.time() + 600, abs=30)
    client.execute_command("true", use_cache=False)
    assert client.get_sandbox_status().expires_at == pytest.approx(time.time() + 600, abs=60)


@pytest.mark.parametrize("seconds", [0, -5, float("nan"), float("inf"), 1e9])
def test_a_time_that_cannot_be_is_refused(client: Client, seconds: float) -> None:
    """A slip in a time is told before anything is asked of a server."""
    with pytest.raises(InvalidRequestError, match="between 1 second and 30 days"):
        client.set_sandbox_timeout(seconds)


def test_without_a_sandbox_there_is_nothing_to_keep(client: Client) -> None:
    """Verbs on a sandbox that is not there say so, and make none."""
    verbs = (
        lambda: client.extend_sandbox(60),
        lambda: client.set_sandbox_timeout(60),
        client.pause_sandbox,
        client.resume_sandbox,
        client.snapshot_sandbox,
        lambda: client.fork_sandbox("other"),
        client.get_sandbox_metrics,
    )
    for verb in verbs:
        with pytest.raises(InvalidRequestError, match="Project 'default' has no sandbox"):
            verb()
    assert client.list_sandboxes() == []


def test_the_sandboxes_of_all_projects_are_listed(client: Client) -> None:
    """One list shows every project's sandbox, with its state and its time."""
    for project in ("web", "api"):
        client.create_sandbox(project)
    listed = client.list_sandboxes()
    assert [(one.project, one.state) for one in listed] == [("api", "running"), ("web", "running")]
    assert all(one.expires_at > time.time() and one.started_at <= time.time() + 1 for one in listed)


def test_orphans_are_found_and_ended(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox that no project in the store has is an orphan, but not while it is new; the others live on."""
    kept = client.create_sandbox("kept")
    lost = client.create_sandbox("lost")
    client.store.forget_project("lost")
    assert client.list_orphans() == []
    monkeypatch.setattr(orphans, "NEW", 0.0)
    assert [one.sandbox_id for one in client.list_orphans()] == [lost.sandbox_id]
    assert [one.sandbox_id for one in client.kill_orphans()] == [lost.sandbox_id]
    assert [one.sandbox_id for one in client.list_sandboxes()] == [kept.sandbox_id]


def _made_elsewhere(client: Client, project: str, directory: Path, *, alive: bool) -> str:
    """Makes a sandbox that says it comes from another store of this machine, by a session that lives or has died."""
    other = orphans.read_origin(orphans.own_origin(directory))
    session = other.session if alive else f"{other.session.rsplit('/', 2)[0]}/1/0.00"
    return _made_by(client, project, f"{session} {other.directory}")


def _made_by(client: Client, project: str, origin: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("e2b_magic.client.work.own_origin", lambda directory: origin)
        made = client.create_sandbox(project).sandbox_id
    client.store.forget_project(project)
    return made


def test_what_other_stores_left_is_ended_when_asked(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stray of a store that is gone, or does not know it, is told apart, and ended only when all are to be."""
    monkeypatch.setattr(orphans, "NEW", 0.0)
    (tmp_path / "forgetful").mkdir()
    with open_store(tmp_path / "forgetful", user=client.configuration.user).kv as kv:
        kv["x"] = "y"
    strays = {_made_elsewhere(client, name, tmp_path / name, alive=False) for name in ("gone", "forgetful")}
    assert client.list_orphans() == client.kill_orphans() == []
    assert {one.sandbox_id for one in client.list_orphans(everywhere=True)} == strays
    assert {one.sandbox_id for one in client.kill_orphans(everywhere=True)} == strays
    assert client.list_sandboxes() == []


def test_what_may_be_in_use_elsewhere_is_never_ended(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another store has it, or cannot be read; its session lives; it comes from another machine, or from nowhere."""
    monkeypatch.setattr(orphans, "NEW", 0.0)
    known = _made_elsewhere(client, "known", tmp_path / "known", alive=False)
    other = open_store(tmp_path / "known", user=client.configuration.user)
    other.update_project("known", sandbox_id=known)
    other.close()
    (tmp_path / "unreadable" / "store.db").mkdir(parents=True)
    _made_elsewhere(client, "unreadable", tmp_path / "unreadable", alive=False)
    _made_by(client, "foreign", f"elsewhere/1/0.00 {client.configuration.directory}")
    _made_by(client, "untold", "")
    neighbour = subprocess.Popen(["sleep", "600"])
    try:
        began = psutil.Process(neighbour.pid).create_time()
        origin = f"{socket.gethostname()}/{neighbour.pid}/{began:.2f} {client.configuration.directory}"
        _made_by(client, "living", origin)
        assert client.kill_orphans(everywhere=True) == []
        assert len(client.list_sandboxes()) == 5
    finally:
        neighbour.kill()
        neighbour.wait()
    assert [one.project for one in client.kill_orphans()] == ["living"]


def test_without_a_store_nothing_is_an_orphan(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing could be stored, nobody can say what is in use, and nothing is ended."""
    monkeypatch.setattr(orphans, "NEW", 0.0)

    def full(*arguments: object, **named: object) -> None:
        raise StoreError("no space left on the device")

    with monkeypatch.context() as patch:
        patch.setattr(client.store, "update_project", full)
        client.create_sandbox("unsaved")
    with pytest.raises(StoreError, match="nobody can say which sandboxes are orphans"):
        client.kill_orphans()
    assert [one.project for one in client.list_sandboxes()] == ["unsaved"]


def test_a_time_that_was_set_is_the_projects(client: Client) -> None:
    """After a restart, and for the project's next sandbox, it still holds; another project has the usual hour."""
    client.create_sandbox()
    client.set_sandbox_timeout(600)
    assert client.get_project_info().sandbox_timeout == 600
    later = Client(client.configuration)
    try:
        later.execute_command("true", use_cache=False)
        assert later.get_sandbox_status().expires_at < time.time() + 660
        later.create_sandbox(replace=True)
        assert later.get_sandbox_status().expires_at < time.time() + 660
        assert later.create_sandbox("other").expires_at > time.time() + 3000
    finally:
        later.close()


async def test_the_same_awaited(client: Client) -> None:
    """The verbs have their awaited forms."""
    state = await client.acreate_sandbox()
    assert (await client.aget_sandbox_status()).sandbox_id == state.sandbox_id
    assert (await client.aextend_sandbox(2 * 3600)).expires_at > state.expires_at
    assert await client.akill_sandbox() == [state.sandbox_id]
    assert await client.alist_sandboxes() == []


def test_a_paused_sandbox_keeps_its_files(client: Client) -> None:
    """`pause_sandbox` puts it to rest, `resume_sandbox` wakes the very same one, and so does its use."""
    made = client.create_sandbox()
    client.execute_command("echo here > mark")
    assert client.pause_sandbox().state == "paused"
    assert client.get_project_info().paused
    assert client.get_sandbox_status().state == "paused"
    assert [one.state for one in client.list_sandboxes()] == ["paused"]
    with pytest.raises(InvalidRequestError, match="is paused: resume it first"):
        client.extend_sandbox(600)
    assert client.resume_sandbox().state == "running"
    assert not client.get_project_info().paused
    client.pause_sandbox()
    result = client.execute_command("cat mark", use_cache=False)
    assert (result.stdout, result.sandbox_id) == ("here\n", made.sandbox_id)
    assert not client.get_project_info().paused


def test_a_paused_sandbox_is_not_woken_in_passing(client: Client) -> None:
    """Neither completion nor a look at its state resumes it."""
    client.execute_command("touch here")
    client.pause_sandbox()
    assert client.peek_directory("~", wait=5) == ()
    assert client.get_sandbox_status().state == "paused"


def test_a_snapshot_makes_sandboxes(client: Client) -> None:
    """A sandbox made from a snapshot has the files of its moment; the source goes on; a snapshot can be deleted."""
    client.execute_command("echo before > mark")
    taken = client.snapshot_sandbox("before")
    client.execute_command("echo after > mark")
    client.create_sandbox("copy", template=taken.snapshot_id)
    assert client.execute_command("cat mark", project="copy").stdout == "before\n"
    assert client.execute_command("cat mark").stdout == "after\n"
    assert taken.snapshot_id in [one.snapshot_id for one in client.list_snapshots()]
    client.kill_sandbox("copy")
    assert client.delete_snapshot(taken.snapshot_id)
    assert not client.delete_snapshot(taken.snapshot_id)


def test_a_fork_is_another_projects_own(client: Client) -> None:
    """A fork has the files and a life of its own: to kill one leaves the other, and no snapshot stays."""
    source = client.create_sandbox()
    client.execute_command("echo mine > mark")
    forked = client.fork_sandbox("twin")
    assert (forked.project, forked.template) == ("twin", source.template)
    client.execute_command("echo other > mark", project="twin")
    assert client.execute_command("cat mark").stdout == "mine\n"
    with pytest.raises(InvalidRequestError, match="'twin' has a sandbox already"):
        client.fork_sandbox("twin")
    assert client.kill_sandbox() == [source.sandbox_id]
    assert client.execute_command("cat mark", project="twin", use_cache=False).stdout == "other\n"
    assert client.list_snapshots() == []
