"""Panels in the hands of somebody who presses everything twice, and the wrong thing first."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.config import from_environment
from e2b_magic.panels import FilesPanel, HistoryPanel, RunPanel, ServerPanel, SettingsPanel

from .conftest import enter, fill_history, press, until

pytestmark = pytest.mark.sandbox


@pytest.fixture
def files(live: Client) -> Iterator[FilesPanel]:
    """Gives a Files tab whose editor has a text that is not saved."""
    live.write_file("kept/edited.txt", "as it was\n")
    panel = FilesPanel(live)
    until(lambda: panel._tree.opened)
    panel._open("/home/user/kept/edited.txt")
    until(lambda: panel.editor.text.value == "as it was\n")
    panel.editor.text.set_state({"value": "as it shall be\n"})
    yield panel
    panel.close()


def _asked(files: FilesPanel, question: str) -> None:
    until(lambda: files.ask.layout.display is None and question in files.ask.children[1].value, question)


def _pick(files: FilesPanel, name: str) -> None:
    until(lambda: any(branch.entry.name == name for branch in files._tree.rows()), name)
    entry = next(branch.entry for branch in files._tree.rows() if branch.entry.name == name)
    files._choose(entry)


def test_a_double_click_runs_once(live: Client) -> None:
    """The second press of Run is no error; another command meanwhile is refused, and stays in its field."""
    run = RunPanel(live)
    run.command.value = "sleep 98764"
    run.run_button.click()
    run.run_button.click()
    until(lambda: run.executor.running)
    assert run.message.value == ""
    enter(run.command, "echo second")
    until(lambda: "Stop or Escape ends it" in run.message.value)
    assert run.command.value == "echo second"
    until(lambda: not run.stop_button.disabled)
    press(run.stop_button)
    until(lambda: "stopped" in run.status.value)
    run.close()


@pytest.mark.parametrize("act", ["close", "reload", "open another", "make another"])
def test_a_text_that_is_not_saved_is_not_lost_unasked(files: FilesPanel, act: str) -> None:
    """Whatever would end its editing asks first, and Cancel leaves it as it is."""
    files.client.write_file("other.txt", "other\n")
    if act == "make another":
        files._ask_for_file()
        enter(files.ask.answer, f"made-{time.time_ns()}.txt")
    elif act == "open another":
        files._open("/home/user/other.txt")
    else:
        press(getattr(files.editor, f"{act}_button"))
    _asked(files, "edited.txt has changes that are not saved: discard them?")
    press(files.ask.no)
    assert (files.editor.path, files.editor.text.value) == ("/home/user/kept/edited.txt", "as it shall be\n")


def test_what_is_typed_while_a_file_is_read_is_not_lost(files: FilesPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be typed that the kernel would not hear of, and of what it hears somebody is asked."""
    files.client.write_file("other.txt", "other\n")
    press(files.editor.save_button)
    until(lambda: not files.editor.changed)
    read, begun, go_on = files.client.aread_file, threading.Event(), threading.Event()

    async def read_slowly(*given: Any, **options: Any) -> bytes:
        begun.set()
        await asyncio.to_thread(go_on.wait, 30)
        return await read(*given, **options)

    monkeypatch.setattr(files.client, "aread_file", read_slowly)
    files._open("/home/user/other.txt")
    assert begun.wait(30)
    assert files.editor.text.disabled
    files.editor.text.set_state({"value": "typed meanwhile\n"})
    go_on.set()
    _asked(files, "edited.txt has changes that are not saved: discard them?")
    assert (files.editor.text.value, files.editor.text.disabled) == ("typed meanwhile\n", False)
    press(files.ask.yes)
    until(lambda: files.editor.text.value == "other\n")


def test_a_text_goes_along_when_its_file_is_renamed(files: FilesPanel) -> None:
    """The directory of a file that is being edited is renamed: what is saved then is at its new path."""
    _pick(files, "kept")
    files._ask_to_rename()
    enter(files.ask.answer, "moved")
    until(lambda: "/home/user/moved/edited.txt" in files.editor._title.value, files.message.value)
    assert files.editor.path == "/home/user/moved/edited.txt"
    press(files.editor.save_button)
    press(files.editor.save_button)
    until(lambda: "Saved /home/user/moved/edited.txt" in files.message.value, files.message.value)
    assert files.client.read_text("moved/edited.txt") == "as it shall be\n"
    files.client.rename_file("moved", "kept")


def test_a_text_is_saved_though_its_sandbox_was_killed(files: FilesPanel) -> None:
    """The file's directory went with the sandbox; Save writes the text into the new one."""
    files.client.kill_sandbox()
    press(files.editor.save_button)
    until(lambda: "Saved /home/user/kept/edited.txt" in files.message.value, files.message.value)
    assert files.client.read_text("kept/edited.txt") == "as it shall be\n"


def test_a_text_is_saved_to_its_own_file(files: FilesPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file that is opened while the sandbox is still asked about the first does not end up in that one."""
    files.client.write_file("other.txt", "other\n")
    listed = files.client.alist_files

    async def slowly(*arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(0.5)
        return await listed(*arguments, **options)

    monkeypatch.setattr(files.client, "alist_files", slowly)
    press(files.editor.save_button)
    files._open("/home/user/other.txt")
    _asked(files, "edited.txt has changes that are not saved: discard them?")
    press(files.ask.yes)
    until(lambda: files.editor.text.value == "other\n")
    until(lambda: "Saved /home/user/kept/edited.txt" in files.message.value, files.message.value)
    assert files.client.read_text("kept/edited.txt") == "as it shall be\n"
    assert not files.editor.changed


def test_a_double_click_saves_once(files: FilesPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second press of Save does not take what the first has written for somebody else's, and ask about it."""
    listed, delays = files.client.alist_files, iter((0.0, 0.5))

    async def slowly(directory: str, **options: Any) -> Any:
        if directory == "/home/user/kept":
            await asyncio.sleep(next(delays, 0.0))
        return await listed(directory, **options)

    monkeypatch.setattr(files.client, "alist_files", slowly)
    press(files.editor.save_button)
    press(files.editor.save_button)
    until(lambda: not files._tasks)
    assert files.ask.layout.display == "none", files.ask.children[1].value
    assert "Saved /home/user/kept/edited.txt" in files.message.value


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_made_goes_where_the_question_said(files: FilesPanel, kind: str) -> None:
    """A row that is pressed before the question is answered chooses no other place."""
    getattr(files, f"_ask_for_{kind}")()
    _pick(files, "kept")
    enter(files.ask.answer, f"made-{kind}")
    until(lambda: any(entry.name == f"made-{kind}" for entry in files.client.list_files()), files.message.value)
    files.client.remove_file(f"made-{kind}", recursive=True)


def test_a_directory_that_is_not_there_has_no_rows(files: FilesPanel) -> None:
    """The rows of the one before, which would answer no press, go; Up leads back to rows that do."""
    until(lambda: files.rows._list.children)
    files.go_to("nowhere")
    until(lambda: "nowhere" in files.message.value and not files.rows._list.children, files.message.value)
    files.go_to("~")
    _pick(files, "kept")


def test_a_name_that_was_typed_is_not_taken_away(live: Client) -> None:
    """A project's name waits in its field for Use, whatever is told of others meanwhile."""
    settings = SettingsPanel(live)
    live.execute_command("echo stored")
    until(lambda: not settings.clear_button.disabled)
    settings.project.set_state({"value": "typed"})
    live.clear_cache()
    until(lambda: settings.clear_button.disabled)
    press(settings.use_button)
    assert live.project == "typed"
    live.use_project("default")
    until(lambda: settings.project.value == "default")
    settings.close()


def test_what_is_there_is_not_replaced_unasked(files: FilesPanel) -> None:
    """A new file and a new name that are taken are refused; an upload of that name asks."""
    files.client.write_file("one.txt", "one\n")
    files.client.write_file("two.txt", "two\n")
    files._ask_for_file()
    enter(files.ask.answer, "one.txt")
    until(lambda: "one.txt is there already" in files.message.value, files.message.value)
    assert files.client.read_text("one.txt") == "one\n"
    _pick(files, "one.txt")
    files._ask_to_rename()
    enter(files.ask.answer, "two.txt")
    until(lambda: "two.txt is there already" in files.message.value)
    file = {"name": "two.txt", "type": "", "size": 3, "last_modified": 0, "content": memoryview(b"new")}
    files._choose(None)
    files.upload.set_state({"value": [file]})
    _asked(files, "/home/user has two.txt already: overwrite?")
    assert files.client.read_text("two.txt") == "two\n"
    press(files.ask.yes)
    until(lambda: "Uploaded two.txt" in files.message.value, files.message.value)
    assert files.client.read_text("two.txt") == "new"


def test_a_double_click_opens_a_directory(files: FilesPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second press of a double click does not close what the first has opened; a later one does."""
    monkeypatch.setattr("e2b_magic.panels.files._PRESSED_TWICE", 60.0)  # however long the sandbox takes to answer
    rows = files._tree.rows
    until(lambda: any(branch.entry.name == "kept" for branch in rows()))
    place = next(place for place, branch in enumerate(rows()) if branch.entry.name == "kept")
    files._pressed(place)
    until(lambda: "/home/user/kept" in files._tree.opened)
    files._pressed(place)
    assert "/home/user/kept" in files._tree.opened
    monkeypatch.setattr("e2b_magic.panels.files._PRESSED_TWICE", 0.0)
    files._pressed(place)
    assert "/home/user/kept" not in files._tree.opened


def test_pages_are_turned_as_often_as_was_pressed(tmp_path: Path) -> None:
    """Next, pressed again before the page is there, turns one page each time, and never past the last."""
    client = Client(from_environment({"E2B_MAGIC_DIRECTORY": str(tmp_path)}))
    fill_history(client, [f"echo {number:02}" for number in range(90)])
    history = HistoryPanel(client)
    until(lambda: history.rows._list.children)
    for _ in range(2):
        press(history.rows.later)
    until(lambda: history.rows._where.value.startswith("51 to 75"))
    assert "echo 39" in history.rows._list.children[0].description
    for _ in range(3):
        history.rows.later.click()  # a page that is there by then allows no further one, and the press is on its way
    until(lambda: not history._tasks)
    assert history.rows.later.disabled
    assert history.rows._where.value.startswith("76 to 90")
    history.close()
    client.close()


def test_a_server_is_started_once(live: Client) -> None:
    """Start, pressed twice, starts one server, and the second press says nothing wrong."""
    panel = ServerPanel(live)
    panel.port.value, panel.command.value = "8126", "python3 -u -m http.server $PORT"
    panel.start_button.click()
    panel.start_button.click()
    until(lambda: "answers on port 8126" in panel.message.value, panel.message.value)
    jobs: list[Any] = [job for job in live.get_background_jobs() if job.port == 8126]
    assert [job.running for job in jobs] == [True]
    until(lambda: not panel.stop_button.disabled)
    press(panel.stop_button)
    until(lambda: [row for row in panel.rows._list.children if "stopped" in row.description])
    panel.close()
