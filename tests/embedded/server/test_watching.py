"""Watched directories: which events there are, in which order, under which names, and what is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from e2b import (
    AsyncSandbox,
    FilesystemEvent,
    FilesystemEventType,
    FileType,
    InvalidArgumentException,
    NotFoundException,
    Sandbox,
    SandboxException,
)
from e2b.exceptions import FileNotFoundException
from e2b.sandbox_sync.filesystem.watch_handle import WatchHandle

from e2b_magic.embedded.agent.watching import MOST_WATCHERS

pytestmark = pytest.mark.sandbox

Watch = Callable[..., WatchHandle]


def _told(handle: WatchHandle) -> list[tuple[str, str]]:
    return [(event.type.value, event.name) for event in handle.get_new_events()]


@pytest.fixture
def watch(sandbox: Sandbox, request: pytest.FixtureRequest) -> Watch:
    """Gives a function that makes the test's directory, by a command or not, and watches it until the test is over."""

    def begin(command: str = "true", **options: Any) -> WatchHandle:
        directory = request.node.name
        sandbox.files.make_dir(directory)
        sandbox.commands.run(command, cwd=directory)
        handle = sandbox.files.watch_dir(directory, **options)
        request.addfinalizer(handle.stop)
        return handle

    return begin


@pytest.fixture
def here(sandbox: Sandbox, request: pytest.FixtureRequest) -> Callable[[str], object]:
    """Gives a function that runs a command in the test's directory."""
    return lambda command: sandbox.commands.run(command, cwd=request.node.name)


def test_an_upload_is_three_events(sandbox: Sandbox, watch: Watch, request: pytest.FixtureRequest) -> None:
    """A new file is created, given to its user, and written; one that was there is given, emptied and written."""
    handle = watch()
    sandbox.files.write(f"{request.node.name}/file", "content")
    assert _told(handle) == [("create", "file"), ("chmod", "file"), ("write", "file")]
    sandbox.files.write(f"{request.node.name}/file", "other")
    assert _told(handle) == [("chmod", "file"), ("write", "file")]
    assert _told(handle) == []


def test_a_rename_is_two_events(watch: Watch, here: Any) -> None:
    """The old name is renamed away, the new one created; over the edge of the directory one is left of the two."""
    handle = watch("touch old")
    here("mv old new; mv new ../elsewhere; mv ../elsewhere back; rm back")
    assert _told(handle) == [
        ("rename", "old"),
        ("create", "new"),
        ("rename", "new"),
        ("create", "back"),
        ("remove", "back"),
    ]


def test_what_lies_deeper_needs_asking_for(watch: Watch, here: Any) -> None:
    """Without `recursive` a directory's own entries are told of, and nothing below them."""
    handle = watch("mkdir deep")
    here("touch deep/file; chmod 700 deep")
    assert _told(handle) == [("chmod", "deep")]


def test_a_tree_is_watched_whole(watch: Watch, here: Any) -> None:
    """With `recursive` names are relative to the watched directory, and a directory is told of once."""
    handle = watch("mkdir -p a/b", recursive=True)
    here("touch a/b/file; chmod 700 a/b; rm -r a")
    assert _told(handle) == [
        ("create", "a/b/file"),
        ("chmod", "a/b/file"),
        ("chmod", "a/b"),
        ("remove", "a/b/file"),
        ("remove", "a/b"),
        ("remove", "a"),
    ]


def test_a_new_directory_is_watched_before_the_next_request(sandbox: Sandbox, watch: Watch, here: Any) -> None:
    """What is written into a directory right after it was made is seen, each time."""
    handle = watch(recursive=True)
    here("true")
    top = f"{test_a_new_directory_is_watched_before_the_next_request.__name__}"
    for number in range(20):
        sandbox.files.make_dir(f"{top}/{number}")
        sandbox.files.write(f"{top}/{number}/file", "x")
    told = _told(handle)
    for number in range(20):
        assert told.count(("create", f"{number}")) == 1
        assert told.count(("create", f"{number}/file")) == 1
        assert ("write", f"{number}/file") in told


def test_what_a_new_directory_holds_is_told_once(watch: Watch, here: Any) -> None:
    """A tree that is made faster than it can be watched is told of whole, nothing of it twice."""
    handle = watch(recursive=True)
    here("for i in $(seq 30); do mkdir -p $i/a/b; touch $i/f $i/a/g $i/a/b/h; done")
    created = [name for kind, name in _told(handle) if kind == "create"]
    wanted = {f"{i}{rest}" for i in range(1, 31) for rest in ("", "/a", "/a/b", "/f", "/a/g", "/a/b/h")}
    assert sorted(created) == sorted(wanted)


def test_a_renamed_directory_is_followed(watch: Watch, here: Any) -> None:
    """What happens in a directory that was renamed has its new name; one that was moved away is heard of no more."""
    handle = watch("mkdir -p a/b ../outside", recursive=True)
    here("mv a c; touch c/b/file; mv c ../outside/c")
    assert [event for event in _told(handle) if event[0] != "chmod"] == [
        ("rename", "a"),
        ("create", "c"),
        ("create", "c/b/file"),
        ("rename", "c"),
    ]
    here("touch ../outside/c/b/other; mv ../outside/c c; touch c/b/third; rm -r c; mkdir c; touch c/new")
    told = _told(handle)
    assert ("create", "c/b/other") not in told
    assert [event for event in told if event[0] == "create"] == [
        ("create", "c"),
        ("create", "c/b/third"),
        ("create", "c"),
        ("create", "c/new"),
    ]


def test_another_directory_in_its_place_is_watched(watch: Watch, here: Any) -> None:
    """A directory that takes the name of one that was moved away is watched as itself."""
    handle = watch("mkdir a", recursive=True)
    here("mv a ../moved-away; mkdir a; touch a/file ../moved-away/other")
    told = [event for event in _told(handle) if event[0] != "chmod"]
    assert told == [("rename", "a"), ("create", "a"), ("create", "a/file")]
    here("touch a/second ../moved-away/third")
    assert [event for event in _told(handle) if event[0] == "create"] == [("create", "a/second")]


def test_the_directory_itself(sandbox: Sandbox, watch: Watch, here: Any, request: pytest.FixtureRequest) -> None:
    """The watched directory's own end is told under the name `.`, and nothing after it."""
    handle = watch(recursive=True)
    sandbox.files.remove(request.node.name)
    sandbox.files.write(f"{request.node.name}/again", "x")
    assert _told(handle) == [("remove", ".")]


def test_entries_are_told_where_asked_for(sandbox: Sandbox, watch: Watch, here: Any) -> None:
    """With `include_entry` what was made or changed comes with its description; what is gone has none."""
    handle = watch("touch old; ln -s . link", include_entry=True)
    here("echo four > new; mv old gone; rm gone")
    events = {(event.type, event.name): event.entry for event in handle.get_new_events()}
    entry = events[FilesystemEventType.WRITE, "new"]
    assert entry is not None
    assert (entry.name, entry.size, entry.type) == ("new", 5, FileType.FILE)
    assert entry.path == f"/home/user/{test_entries_are_told_where_asked_for.__name__}/new"
    assert events[FilesystemEventType.RENAME, "old"] is None
    assert events[FilesystemEventType.REMOVE, "gone"] is None


def test_a_link_to_a_directory_can_be_watched(sandbox: Sandbox, here: Any, watch: Watch) -> None:
    """Through a link its target is watched, and entries have the path that was asked for."""
    watch("ln -s . link")
    name = test_a_link_to_a_directory_can_be_watched.__name__
    handle = sandbox.files.watch_dir(f"{name}/link", include_entry=True)
    here("echo x > file")
    paths = {event.entry.path for event in handle.get_new_events() if event.entry is not None}
    assert paths == {f"/home/user/{name}/link/file"}
    handle.stop()


def test_two_watches_of_one_directory_are_apart(sandbox: Sandbox, watch: Watch, here: Any) -> None:
    """Each watch tells all, and the end of one is not the other's."""
    one = watch("mkdir deep")
    other = sandbox.files.watch_dir(test_two_watches_of_one_directory_are_apart.__name__, recursive=True)
    here("touch deep/a b")
    assert _told(one) == [("create", "b"), ("chmod", "b")]
    assert ("create", "deep/a") in _told(other)
    other.stop()
    here("touch deep/c d")
    assert _told(one) == [("create", "d"), ("chmod", "d")]


def test_what_cannot_be_watched(sandbox: Sandbox, envd: httpx.Client) -> None:
    """A missing directory, a file and an unknown watcher are refused by name; who removes twice is told so."""
    with pytest.raises(FileNotFoundException):
        sandbox.files.watch_dir("missing")
    sandbox.files.write("watched-file", "")
    with pytest.raises(InvalidArgumentException, match="is not a directory"):
        sandbox.files.watch_dir("watched-file")
    handle = sandbox.files.watch_dir("/tmp")
    WatchHandle.stop(handle)
    handle._closed = False
    with pytest.raises(NotFoundException, match="watcher with id"):
        handle.stop()
    answer = envd.post("/filesystem.Filesystem/GetWatcherEvents", json={"watcherId": "x"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_watches_are_bounded(own_sandbox: Sandbox) -> None:
    """A sandbox has a number of watches, and one that ends makes room for another."""
    handles = [own_sandbox.files.watch_dir("/tmp") for _ in range(MOST_WATCHERS)]
    with pytest.raises(SandboxException, match=f"{MOST_WATCHERS} watches"):
        own_sandbox.files.watch_dir("/tmp")
    handles[0].stop()
    own_sandbox.files.watch_dir("/tmp").stop()


@pytest.mark.slow
def test_what_could_not_be_kept_is_said(own_sandbox: Sandbox) -> None:
    """A client that does not ask learns what could be kept, then that there was more; and then goes on."""
    own_sandbox.files.make_dir("busy")
    handle = own_sandbox.files.watch_dir("busy", include_entry=True)
    own_sandbox.commands.run("cd busy && seq 40000 | xargs touch")
    assert len(handle.get_new_events()) > 1000
    with pytest.raises(SandboxException, match="more has happened"):
        handle.get_new_events()
    own_sandbox.commands.run("rm busy/1")
    assert ("remove", "1") in _told(handle)


@pytest.mark.slow
def test_a_tree_that_many_events_ran_over_is_still_watched(own_sandbox: Sandbox) -> None:
    """Directories that came to be while the kernel dropped events are watched after all."""
    own_sandbox.files.make_dir("flood")
    handle = own_sandbox.files.watch_dir("flood", recursive=True)
    make = "import os\nfor i in range(60000): open(f'f{i % 7}', 'w').close()\nos.makedirs('late/er')"
    own_sandbox.commands.run(f'cd flood && python3 -c "{make}"')
    while True:
        try:
            handle.get_new_events()
        except SandboxException:
            continue
        break
    own_sandbox.files.write("flood/late/er/file", "x")
    assert ("create", "late/er/file") in _told(handle)


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what the SDK's callbacks change
            await asyncio.sleep(0.02)


async def test_events_come_as_they_happen(options: dict[str, Any]) -> None:
    """A stream tells of each event at once, and ends without an error when it is stopped."""
    sandbox = await AsyncSandbox.create(**options)
    events: list[FilesystemEvent] = []
    ends: list[Exception | None] = []
    handle = await sandbox.files.watch_dir("/home/user", events.append, ends.append, recursive=True)
    await sandbox.files.write("a/b/file", "content")
    await _until(lambda: [event for event in events if event.type == FilesystemEventType.WRITE])
    assert [event.name for event in events if event.type == FilesystemEventType.CREATE] == ["a", "a/b", "a/b/file"]
    await handle.stop()  # type: ignore[no-untyped-call]  # the SDK's own lack
    await _until(lambda: ends)
    assert ends == [None]
    await sandbox.kill()


async def test_a_stream_ends_with_its_timeout(options: dict[str, Any]) -> None:
    """A watch that has a time ends with it, as E2B's does."""
    sandbox = await AsyncSandbox.create(**options)
    ends: list[Exception | None] = []
    # In a task of its own: the client's deadline cancels the task that opened the stream, whichever that is by then.
    await asyncio.create_task(sandbox.files.watch_dir("/home/user", lambda _: None, ends.append, timeout=1))
    await _until(lambda: ends)
    assert isinstance(ends[0], Exception)
    await sandbox.kill()


async def test_a_stream_ends_with_its_sandbox(options: dict[str, Any]) -> None:
    """Whoever watches a sandbox that is killed is told of it by an error."""
    sandbox = await AsyncSandbox.create(**options)
    ends: list[Exception | None] = []
    await sandbox.files.watch_dir("/home/user", lambda _: None, ends.append)
    await sandbox.kill()
    await _until(lambda: ends)
    assert isinstance(ends[0], SandboxException)


async def test_a_client_that_leaves_ends_its_watch(options: dict[str, Any]) -> None:
    """More streams than a sandbox may have watches can follow each other, since each goes with its client."""
    sandbox = await AsyncSandbox.create(**options)
    for _ in range(MOST_WATCHERS + 5):
        handle = await sandbox.files.watch_dir("/tmp", lambda _: None)
        await handle.stop()  # type: ignore[no-untyped-call]  # the SDK's own lack
        # The connection's end reaches the server a moment after the client has forgotten it.
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                probe = await sandbox.files.watch_dir("/tmp", lambda _: None)
            except SandboxException:
                await asyncio.sleep(0.05)
                continue
            await probe.stop()  # type: ignore[no-untyped-call]
            break
    await sandbox.kill()
