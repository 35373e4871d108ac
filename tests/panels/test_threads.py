"""Panels between two threads: buttons are pressed in the kernel's, and work is done on the client's loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.client.changes import SettingsChanged
from e2b_magic.config import EMBEDDED, Configuration
from e2b_magic.panels import FilesPanel, SandboxPanel
from e2b_magic.panels.tree import Tree
from e2b_magic.panels.view import View
from e2b_magic.records import FileEntry
from e2b_magic.worker.caller import Answer, FakeCaller
from e2b_magic.worker.protocol import Emit

from .conftest import until


@pytest.fixture
def client(configuration: Configuration) -> Iterator[Client]:
    """Gives a client with a sandbox that runs, was never measured, and is empty."""
    state = {"project": "default", "backend": EMBEDDED, "state": "running", "sandbox_id": "s1"}

    def answer(data: dict[str, Any]) -> Answer:
        async def tell(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
            return data

        return tell

    there = answer({**state, "expires_at": time.time() + 600})
    answers = {
        "sandbox_status": there,
        "sandbox_metrics": answer({"metrics": []}),
        "list_files": answer({"entries": []}),
    }
    client = Client(configuration, caller=FakeCaller(answers))
    yield client
    client.close()


def _entry(path: str, kind: str = "file") -> FileEntry:
    return FileEntry(path=path, name=path.rpartition("/")[2], type=kind, size=0)


def test_a_page_that_is_turned_while_another_is_drawn_is_what_stays(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that were looked up before a page was turned do not cover those of the page that is shown now."""
    files = FilesPanel(client)
    until(lambda: not files._tasks)
    files._tree.put(files._tree.root, [_entry(f"{files._tree.root}/{number:03}") for number in range(130)])
    show, looked_up, turned = files.rows.show_page, threading.Event(), threading.Event()

    def show_late(*rows: Any, **where: Any) -> None:
        if threading.current_thread() is loop:
            looked_up.set()
            turned.wait(0.2)
        show(*rows, **where)

    monkeypatch.setattr(files.rows, "show_page", show_late)
    loop = threading.Thread(target=files._show_rows)
    loop.start()
    assert looked_up.wait(30)
    files._turned(1)
    turned.set()
    loop.join()
    assert files.rows._where.value == "61 to 120 of 130"
    files.close()


def test_a_directory_that_is_closed_while_it_is_read_stays_closed() -> None:
    """What was read of it meanwhile does not open it again; the directory at the top is always open."""
    tree = Tree("/home")
    tree.renew("/home", [_entry("/home/a", "dir")])
    tree.put("/home/a", [_entry("/home/a/one")])
    tree.fold("/home/a")
    tree.renew("/home/a", [_entry("/home/a/one"), _entry("/home/a/two")])
    assert (tree.opened, [branch.entry.path for branch in tree.rows()]) == (["/home"], ["/home/a"])


def test_who_goes_elsewhere_is_not_taken_back(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that is typed while the panel finds that no sandbox runs is the one that is shown from then on."""
    files = FilesPanel(client)
    until(lambda: not files._tasks)

    def asleep() -> bool:
        files.go_to("/tmp")
        return False

    with monkeypatch.context() as patch:
        patch.setattr(files, "_alive", asleep)
        files.start(files._load)
        until(lambda: not files._tasks)
    assert (files._tree.root, files.directory.value) == ("/tmp", "/tmp")
    files.close()


def test_a_closed_panel_begins_nothing(client: Client) -> None:
    """Neither a change that is still being told, nor work that has not felt its end yet, leaves anything at work."""
    panel = SandboxPanel(client)
    until(lambda: panel._clock._task is not None)
    panel.close()
    panel.changed(SettingsChanged())
    panel._clock.start()
    assert panel.start(panel._load) is None
    until(lambda: not panel._tasks)


def test_what_repeats_rests_though_the_tab_is_left_just_now(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is about to start when another tab is turned to does not go on unseen."""
    panel = SandboxPanel(client)
    until(lambda: panel._refresh._task is None)
    panel.looked_at(False)
    until(lambda: not panel._tasks)
    start = panel._clock.start

    def leave_and_start() -> None:
        panel.looked_at(False)
        start()

    monkeypatch.setattr(panel._clock, "start", leave_and_start)
    panel.looked_at(True)
    until(lambda: not panel._tasks, "the end of what nobody sees")
    panel.close()


def test_work_that_cannot_begin_is_told(client: Client) -> None:
    """A panel whose client was closed says so when something is to be done, from whatever thread."""
    view = View(client)
    client.close()
    assert view.start(lambda: pytest.fail("this client is closed")) is None
    assert "This client is closed" in view.message.value
    view.close()
