"""Panels as objects, pressed as a page presses them, over sandboxes of an embedded server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.client.changes import ProjectChanged
from e2b_magic.config import from_environment
from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.panels import FilesPanel, HistoryPanel, Panel, RunPanel, SandboxPanel, ServerPanel, SettingsPanel

from .conftest import enter, fill_history, press, saved_state, until, widgets_alive

pytestmark = pytest.mark.sandbox


def _made(panel: Any) -> Iterator[Any]:
    yield panel
    panel.close()


@pytest.fixture
def run(live: Client) -> Iterator[RunPanel]:
    """Gives a Run tab that stands alone."""
    yield from _made(RunPanel(live))


@pytest.fixture
def files(live: Client) -> Iterator[FilesPanel]:
    """Gives a Files tab over a sandbox that runs."""
    live.execute_command("true", use_cache=False)
    panel = FilesPanel(live)
    until(lambda: panel._tree.opened)
    yield from _made(panel)


def _output(run: RunPanel) -> str:
    return str(run.output.children[0].value)


def _told(files: FilesPanel, text: str) -> None:
    until(lambda: text in files.message.value, text)


def _at(history: HistoryPanel, page: int) -> None:
    until(lambda: history.rows._where.value.startswith(f"{page * 25 + 1:,} to"))


def _names(files: FilesPanel) -> list[str]:
    return [branch.entry.name for branch in files._tree.rows()]


def _row(panel: Any, text: str) -> Any:
    def shown() -> list[Any]:
        return [button for button in panel.rows._list.children if text in button.description]

    return until(shown, f"a row with {text}")[0]


def test_enter_runs_and_the_end_is_told(run: RunPanel) -> None:
    """Enter runs what was typed; output, exit code and time are shown, and Run again runs it anew."""
    enter(run.command, "printf '\\033[32mgreen\\033[0m <b>bold</b>'; exit 3")
    until(lambda: "exit 3" in run.status.value)
    until(lambda: '<span class="e2b-fg-2">green</span> &lt;b&gt;bold&lt;/b&gt;' in _output(run))
    assert 'role="status"' in run.status.value
    first = run.executor.result
    press(run.again_button)
    until(lambda: run.executor.result not in (None, first))


def test_a_stored_answer_says_so(run: RunPanel) -> None:
    """An equal command is answered from the store with a badge; Run again is not."""
    for _ in range(2):
        enter(run.command, "date +%N")
        until(lambda: run.executor.result is not None and not run.run_button.disabled)
    until(lambda: "cached" in run.status.value)
    press(run.again_button)
    until(lambda: run.executor.result is not None and not run.executor.result.cached)


def test_output_streams_and_stop_ends_it(run: RunPanel) -> None:
    """Output is there while the command runs, and Stop ends the command and its children."""
    enter(run.command, "echo begun; sleep 98761 & sleep 98762")
    until(lambda: "begun" in _output(run))
    until(lambda: "running" in run.status.value)
    assert run.run_button.disabled
    press(run.stop_button)
    until(lambda: "stopped" in run.status.value)
    search = run.client.execute_command("grep -laz 9876[12] /proc/[0-9]*/cmdline | wc -l", use_cache=False)
    assert search.stdout == "0\n"


def test_a_slip_is_one_line_in_the_panel(run: RunPanel) -> None:
    """An empty command and a wrong time limit are told in the message line, with the details folded."""
    press(run.run_button)
    assert "The command is empty" in run.message.value
    assert "<details>" in run.message.value
    run.timeout.value = "soon"
    enter(run.command, "true")
    until(lambda: "Time limit" in run.message.value)


def test_variables_reach_the_command_and_nothing_else(run: RunPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable's value is in the command's environment, and in no widget, no history and no log."""
    monkeypatch.setenv("FROM_KERNEL", "canary-two")
    run.environment._field.set_state({"value": "TOKEN=canary-one"})
    run.environment._field.set_state({"value": "FROM_KERNEL"})
    enter(run.command, 'echo "${#TOKEN} ${#FROM_KERNEL}"')
    until(lambda: "10 10" in _output(run))
    assert "canary" not in saved_state()
    until(lambda: run.executor.result is not None)
    assert run.executor.result is not None
    assert run.executor.result.env_names == ("FROM_KERNEL", "TOKEN")
    assert "canary" not in repr(run.client.get_execution_history())
    run.environment._field.set_state({"value": "no name=canary-three"})
    assert "Write NAME=value" in run.message.value
    assert "canary" not in saved_state()


def test_a_rerun_has_its_own_variables_alone(run: RunPanel) -> None:
    """A past command runs again with the variables that it had, and not before their values are given again."""
    plain = run.client.execute_command('echo "[$TOKEN]"', use_cache=False)
    named = run.client.execute_command('echo "[$TOKEN]"', envs={"TOKEN": "old"}, use_cache=False)
    run.rerun(named)
    assert "give TOKEN again" in run.message.value
    assert run.executor.result is None
    run.environment.add("TOKEN=new")
    run.rerun(named)
    until(lambda: "[new]" in _output(run))
    until(lambda: not run.executor.running)
    run.rerun(plain)
    until(lambda: "[]" in _output(run))


def test_files_are_opened_changed_and_saved(files: FilesPanel) -> None:
    """A file is made, edited, saved, seen by a command, and deleted after a question."""
    press(_button(files, "New file"))
    enter(files.ask.answer, "notes/a.txt")
    until(lambda: files.editor.layout.display is None)
    assert files.editor.path == "/home/user/notes/a.txt"
    files.editor.text.set_state({"value": "one\ntwo\n"})
    press(files.editor.save_button)
    until(lambda: "Saved" in files.message.value)
    assert files.client.read_text("notes/a.txt") == "one\ntwo\n"
    until(lambda: "notes" in _names(files))
    press(_row(files, "notes"))
    until(lambda: "a.txt" in _names(files))
    press(_row(files, "a.txt"))
    press(files.delete_button)
    press(files.ask.yes)
    until(lambda: "a.txt" not in _names(files))
    assert files.client.list_files("notes") == []
    until(lambda: files.editor.path is None)


def _button(panel: Any, name: str) -> Any:
    waiting = list(panel.children)
    while waiting:
        widget = waiting.pop()
        if getattr(widget, "description", None) == name and hasattr(widget, "click"):
            return widget
        waiting.extend(getattr(widget, "children", ()))
    raise LookupError(name)


def test_what_changed_meanwhile_is_not_overwritten_unasked(files: FilesPanel) -> None:
    """Saving over a newer content is asked about, however often it is tried, and Windows' line ends are kept."""
    files.client.write_file("c.txt", "a\r\nb\r\n")
    files._open("/home/user/c.txt")
    until(lambda: files.editor.text.value == "a\nb\n")
    files.client.write_file("c.txt", "other\r\n")
    files.editor.text.set_state({"value": "a\nmine\n"})
    for _ in range(2):
        press(files.editor.save_button)
        until(lambda: "has changed since" in files.ask.children[1].value)
    assert files.client.read_text("c.txt") == "other\r\n"
    files.client.write_file("c.txt", "newer\r\n")
    press(files.ask.yes)
    until(lambda: files.ask.layout.display is None, "the question about what is newer still")
    assert files.client.read_text("c.txt") == "newer\r\n"
    press(files.ask.yes)
    _told(files, "Saved")
    assert files.client.read_text("c.txt") == "a\r\nmine\r\n"


def test_what_is_no_text_is_not_opened(files: FilesPanel) -> None:
    """Bytes, mixed line ends and a file that is too large are refused in one line."""
    for name, content, told in (
        ("bytes", b"\xff\xfe", "no UTF-8 text"),
        ("mixed", b"a\r\nb\n", "line ends"),
        ("large", b"x" * 300_000, "edits 262 kB at most"),
    ):
        files.client.write_file(name, content)
        files.message.clear()
        files._open(f"/home/user/{name}")
        _told(files, told)
        assert files.editor.path is None


def test_files_go_up_and_down(files: FilesPanel) -> None:
    """What the browser sends is written, without any directory it names, and a download is offered as bytes."""
    file = {"name": "../up<b>.bin", "type": "text/html", "size": 3, "last_modified": 0}
    files.upload.set_state({"value": [{**file, "content": memoryview(b"\x00\x01\x02")}]})
    until(lambda: "Uploaded" in files.message.value)
    assert files.upload.value == ()
    assert files.client.read_file("up<b>.bin") == b"\x00\x01\x02"
    until(lambda: "up<b>.bin" in _names(files))
    press(_row(files, "up<b>.bin"))
    press(files.download_button)
    until(lambda: files.link.value)
    assert 'download="up&lt;b&gt;.bin" href="data:application/octet-stream;base64,AAEC"' in files.link.value
    assert ">Save up&lt;b&gt;.bin (3 bytes)<" in files.link.value


def test_a_directory_of_5000_is_paged(files: FilesPanel) -> None:
    """Of five thousand entries a page holds sixty, and the pages join without a gap."""
    # In memory they are made in a tenth of a second, on a busy disk in several.
    make = "mkdir /dev/shm/many && cd /dev/shm/many && seq -f '%05.0f' 5000 | xargs touch"
    files.client.execute_command(make, use_cache=False)
    files.go_to("/dev/shm/many")
    until(lambda: len(files._tree.rows()) == 5000)
    until(lambda: "of 5,000" in files.rows._where.value)
    assert "00001" in files.rows._list.children[0].description
    for _ in range(83):
        press(files.rows.later)
    assert files.rows.later.disabled
    assert "05000" in files.rows._list.children[-1].description
    assert len(files.rows._pool) == 60


def test_history_is_paged_filtered_and_run_again(live: Client) -> None:
    """The newest are first, a filter finds, details show the output, Run again runs it in the Run tab."""
    for number in range(30):
        live.execute_command(f"echo number {number}")
    panel = Panel(live, tab="history")
    history: Any = panel._tab("history")
    until(lambda: history.rows._list.children)
    assert "number 29" in history.rows._list.children[0].description
    press(history.rows.later)
    until(lambda: "number 4" in history.rows._list.children[0].description)
    press(history.rows.earlier)
    until(lambda: "number 29" in history.rows._list.children[0].description)
    history.filter.value = "number 17"
    until(lambda: len(history._page) == 1)
    press(history.rows._list.children[0])
    assert "number 17" in history._output.children[0].value
    assert history._magic.value == "%e2b run echo number 17"
    press(history.again_button)
    assert panel.tabs.selected_index == 0
    until(lambda: panel.run.executor.result is not None and panel.run.executor.result.stdout == "number 17\n")
    assert "cached" not in panel.run.status.value
    panel.close()


def test_history_stands_alone(live: Client) -> None:
    """Without a Run tab beside it the history brings one when something is run again."""
    live.execute_command("echo alone")
    history = HistoryPanel(live)
    until(lambda: history.rows._list.children)
    press(history.rows._list.children[0])
    press(history.again_button)
    until(lambda: isinstance(history.children[-1], RunPanel))
    until(lambda: "alone" in _output(history.children[-1]))
    history.close()


def test_a_history_of_10000_opens_its_pages_quickly(tmp_path: Path) -> None:
    """A page out of ten thousand executions is there without reading them all."""
    client = Client(from_environment({"E2B_MAGIC_DIRECTORY": str(tmp_path)}))
    fill_history(client, [f"echo {number}" for number in range(10_000)])
    history = HistoryPanel(client)
    until(lambda: history.rows._list.children)
    times = []
    for page in range(5):
        before = time.perf_counter()
        press(history.rows.later)
        _at(history, page + 1)
        times.append(time.perf_counter() - before)
    assert sorted(times)[2] < 2
    history.close()
    client.close()


def test_two_panels_and_the_client_are_in_step(live: Client) -> None:
    """What one panel runs, a script does or a panel chooses is seen by the other; output stays where it ran."""
    one, other = Panel(live), Panel(live, tab="history")
    history: Any = other._tab("history")
    enter(one.run.command, "echo from one panel")
    until(lambda: any(record.command == "echo from one panel" for record in history._page))
    live.execute_command("echo from a script")
    until(lambda: any(record.command == "echo from a script" for record in history._page))
    until(lambda: "echo from a script" in other.run._past)
    # Not before it runs one itself: new options would put back what is being typed.
    assert "echo from a script" not in other.run.command.options
    enter(other.run.command, "true")
    until(lambda: "echo from a script" in other.run.command.options)
    assert "from one" not in _output(other.run)
    other.turn_to("settings")
    settings: Any = other._tab("settings")
    enter(settings.project, "elsewhere")
    until(lambda: "elsewhere" in one._heading.value)
    live.use_project("default")
    until(lambda: settings.project.value == "default")
    one.close()
    other.close()


def test_a_closed_panel_leaves_nothing(live: Client) -> None:
    """After `close` no widget, no subscriber and no task of the panel is left, whatever tabs were looked at."""
    widgets, subscribers = widgets_alive(), len(live.changes)
    panel = Panel(live)
    for tab in ("files", "history", "server", "sandbox", "settings", "run"):
        panel.turn_to(tab)
    enter(panel.run.command, "sleep 98763")
    until(lambda: panel.run.executor.running)
    made = [panel, *panel._made.values()]
    panel.close()
    assert len(live.changes) == subscribers
    until(lambda: not any(one._tasks for one in made), "the end of the tasks")
    until(lambda: widgets_alive() <= widgets, "the end of the widgets")
    until(lambda: not panel.run.executor.running)


def test_kill_asks_and_the_next_command_recovers(live: Client, run: RunPanel) -> None:
    """Kill asks first; the state and the files say that the sandbox is gone, and running makes a new one."""
    first = live.execute_command("touch chosen.txt", use_cache=False).sandbox_id
    panel = SandboxPanel(live)
    files = FilesPanel(live)
    press(_row(files, "chosen.txt"))
    until(lambda: files.chosen_line.layout.display is None)
    until(lambda: "running" in panel.facts.value)
    until(lambda: "ends in" in panel.left.value)
    press(panel.kill_button)
    press(panel.ask.no)
    assert live.get_sandbox_status().state == "running"
    press(panel.kill_button)
    press(panel.ask.yes)
    until(lambda: "none yet" in panel.facts.value)
    until(lambda: "no sandbox that runs" in files.rows._where.value)
    assert files.chosen_line.layout.display == "none"
    assert live.get_sandbox_status().state == "none"
    enter(run.command, "echo back")
    until(lambda: "back" in _output(run))
    until(lambda: "running" in panel.facts.value)
    assert live.get_sandbox_status().sandbox_id not in ("", first)
    panel.close()
    files.close()


def test_the_api_key_is_nowhere(live: Client, tmp_path: Path) -> None:
    """A key that is entered logs in, and is in no widget's state, no store and no repr."""
    client = Client(from_environment({"E2B_MAGIC_DIRECTORY": str(tmp_path)}))
    settings = SettingsPanel(client)
    press(settings.login_button)
    assert "Enter the E2B API key first" in settings.message.value
    settings.key.set_state({"value": "e2b_canary0123"})
    assert settings.key.value == ""
    assert "canary" not in saved_state()
    press(settings.login_button)
    assert client.configuration.api_key is not None
    assert client.configuration.api_key.reveal() == "e2b_canary0123"
    until(lambda: not settings.logout_button.disabled)
    assert "canary" not in saved_state() + repr(vars(settings))
    press(settings.logout_button)
    assert client.configuration.api_key is None
    settings.close()
    client.close()
    assert b"canary" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_closed_client_is_told(directory: Path) -> None:
    """Unloading the extension leaves a panel that says so, and a button in it gives one line."""
    client = Client(from_environment({"E2B_MAGIC_DIRECTORY": str(directory)}))
    run = RunPanel(client)
    client.close()
    assert "was closed" in run.message.value
    enter(run.command, "true")
    run.run()
    assert "This client is closed" in run.message.value
    run.close()


def test_a_notebook_without_a_kernel_has_a_text(live: Client, run: RunPanel) -> None:
    """The panel's representations hold a readable text and HTML beside the widget."""
    shown = run._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert "Run this cell with a kernel" in shown["text/plain"]
    assert "Run this cell with a kernel" in shown["text/html"]


def test_an_unknown_tab_is_a_slip(live: Client) -> None:
    """A tab that there is not is named with those that there are."""
    with pytest.raises(InvalidRequestError, match="use one of run, files"):
        Panel(live, tab="flies")


def test_a_panel_is_made_quickly(live: Client) -> None:
    """Making a panel takes a few dozen milliseconds of the kernel's time: the median of five stays below 300."""
    times = []
    for _ in range(5):
        before = time.perf_counter()
        panel = Panel(live)
        times.append(time.perf_counter() - before)
        panel.close()
    assert sorted(times)[2] < 0.3


def test_a_sandbox_is_kept_and_measured(live: Client) -> None:
    """Extend moves the end, what it uses is drawn, and looking at it makes no work by itself."""
    live.execute_command("true", use_cache=False)
    panel = SandboxPanel(live)
    until(lambda: not panel.pause_button.disabled)
    panel.span.value = 43200.0
    press(panel.extend_button)
    until(lambda: panel._state is not None and panel._state.expires_at > time.time() + 40_000, "the extension")
    until(lambda: "h" in panel.left.value)
    until(lambda: panel.usage.value.count("<svg") == 3, panel.usage.value)
    told: list[object] = []
    leave = live.changes.subscribe(told.append)
    panel._refresh.ask()
    time.sleep(2)
    leave()
    assert ProjectChanged("default") not in told
    panel.close()


def test_a_server_is_started_seen_and_stopped(live: Client) -> None:
    """A server that answers is listed with its page and its log, and Stop ends it; what is wrong is told."""
    panel = ServerPanel(live)
    panel.port.value = "many"
    enter(panel.command, "true")
    until(lambda: "is no port" in panel.message.value)
    panel.port.value = "8123"
    enter(panel.command, "python3 -u -m http.server $PORT")
    until(lambda: "answers on port 8123" in panel.message.value, panel.message.value)
    until(lambda: "Its page" in panel.link.value)
    until(lambda: panel.rows._list.children)
    assert "8123" in panel.rows._list.children[0].description
    until(lambda: "Serving HTTP" in panel.output.children[0].value)
    until(lambda: not panel.stop_button.disabled)
    press(panel.stop_button)
    until(lambda: "stopped" in panel.rows._list.children[0].description)
    until(lambda: "href" not in panel.link.value)
    panel.port.value = "8124"
    enter(panel.command, "echo broken >&2; exit 3")
    until(lambda: "error" in panel.message.value)
    until(lambda: "broken" in panel.output.children[0].value + panel.message.value)
    until(lambda: not panel.start_button.disabled)
    until(lambda: panel.stop_button.disabled, "the end of Stop: there is nothing to stop")
    panel.close()


def test_a_project_is_set_up_and_served(live: Client) -> None:
    """A template's files are brought, the fields say how they are served, and that works."""
    live.use_project("shop")
    panel = ServerPanel(live)
    panel.template.value = "static"
    press(panel.setup_button)
    until(lambda: "is set up" in panel.message.value, panel.message.value)
    assert panel.command.value == live.get_project_info("shop").dev
    press(panel.start_button)
    until(lambda: "answers on port" in panel.message.value, panel.message.value)
    until(lambda: "Its page" in panel.link.value)
    live.kill_sandbox("shop")
    live.use_project("default")
    panel.close()


def test_a_start_is_given_up(live: Client) -> None:
    """Stop while the port does not answer yet ends the server."""
    panel = ServerPanel(live)
    panel.port.value = "8125"
    enter(panel.command, "echo waiting; sleep 98765")
    until(lambda: "waiting" in panel.output.children[0].value)
    press(panel.stop_button)
    until(lambda: not panel.start_button.disabled)
    search = live.execute_command("sleep 1; grep -laz 9876[5] /proc/[0-9]*/cmdline | wc -l", use_cache=False)
    assert search.stdout == "0\n"
    panel.close()


def test_a_file_is_saved_where_it_was_opened(files: FilesPanel) -> None:
    """Another project's files are shown when it is chosen, and what is being edited is still saved to its own."""
    files.client.write_file("mine.txt", "first\n")
    files._open("/home/user/mine.txt")
    until(lambda: files.editor.layout.display is None)
    assert files.editor.path == "/home/user/mine.txt"
    until(lambda: "mine.txt" in _names(files))
    press(_row(files, "mine.txt"))
    press(files.delete_button)
    files.client.write_file("theirs.txt", "theirs\n", project="neighbour")
    files.client.use_project("neighbour")
    until(lambda: _names(files) == ["theirs.txt"])
    assert files.ask.layout.display == "none"
    files.editor.text.set_state({"value": "second\n"})
    press(files.editor.save_button)
    until(lambda: "Saved" in files.message.value, files.message.value)
    files.client.use_project("default")
    assert files.client.read_text("mine.txt") == "second\n"
    assert [entry.name for entry in files.client.list_files(project="neighbour")] == ["theirs.txt"]
    until(lambda: "mine.txt" in _names(files))
    files.client.kill_sandbox("neighbour")


def test_files_are_moved_and_carried(files: FilesPanel, tmp_path: Path) -> None:
    """A directory is made, a file of this machine brought into it, renamed there, and saved back, by path."""
    (tmp_path / "big.bin").write_bytes(b"x" * 20_000_000)
    press(_button(files, "New folder"))
    enter(files.ask.answer, "carried")
    until(lambda: "carried" in _names(files))
    press(_row(files, "carried"))
    until(lambda: "/home/user/carried" in files._tree.opened)
    press(_button(files, "From path…"))
    enter(files.ask.answer, str(tmp_path / "big.bin"))
    until(lambda: "Brought 1 file" in files.message.value, files.message.value)
    until(lambda: "big.bin" in _names(files))
    press(_row(files, "big.bin"))
    until(lambda: "too large for a page" in files.message.value)
    press(files.download_button)
    until(lambda: "a page is handed" in files.message.value)
    press(files.rename_button)
    enter(files.ask.answer, "large.bin")
    until(lambda: "large.bin" in _names(files) and "big.bin" not in _names(files))
    press(files.save_button)
    enter(files.ask.answer, str(tmp_path / "back.bin"))
    until(lambda: "Saved 1 file" in files.message.value, files.message.value)
    assert (tmp_path / "back.bin").stat().st_size == 20_000_000
