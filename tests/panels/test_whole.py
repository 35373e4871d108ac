"""The panel as a whole: of what it is made, and what its buttons do to real sandboxes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ipywidgets.widgets.widget import _instances

from e2b_magic.client import Client
from e2b_magic.panels import TABS, Panel, SandboxPanel

from .conftest import enter, press, until, widgets_alive

pytestmark = pytest.mark.sandbox

CORE = {"@jupyter-widgets/base", "@jupyter-widgets/controls", "@jupyter-widgets/output"}
"""The modules that JupyterLab, Notebook 7, VS Code and Colab all have without anything to install."""


@pytest.fixture
def sandbox(live: Client) -> Iterator[SandboxPanel]:
    """Gives a Sandbox tab over a sandbox that runs."""
    live.execute_command("echo original > kept.txt", use_cache=False)
    panel = SandboxPanel(live)
    until(lambda: not panel.snapshot_button.disabled)
    yield panel
    panel.close()


def test_it_is_made_of_core_widgets(live: Client) -> None:
    """Whatever tab is looked at, and whatever it shows, every model and view is one that each front end has."""
    live.execute_command("echo x > one.txt", use_cache=False)
    before = widgets_alive()
    panel = Panel(live)
    for tab in TABS:
        panel.turn_to(tab)
    files: Any = panel._tab("files")
    history: Any = panel._tab("history")
    until(lambda: files.rows._list.children and history.rows._list.children)
    press(history.rows._list.children[0])
    made = [_instances[one] for one in widgets_alive() - before]
    assert len(made) > 100
    assert {module for one in made for module in (one._model_module, one._view_module) if module} <= CORE
    panel.close()


def test_a_snapshot_is_taken_and_used(live: Client, sandbox: SandboxPanel) -> None:
    """Snapshot keeps the sandbox as it is now: one made from it has the file as it was."""
    press(sandbox.snapshot_button)
    enter(sandbox.ask.answer, "before-the-change")
    until(lambda: "Took snapshot" in sandbox.message.value, sandbox.message.value)
    live.write_file("kept.txt", "changed\n")
    (snapshot,) = [one for one in live.list_snapshots() if "before-the-change" in one.snapshot_id]
    assert snapshot.snapshot_id in sandbox.message.value
    live.create_sandbox("from-snapshot", template=snapshot.snapshot_id)
    assert live.read_text("kept.txt", project="from-snapshot") == "original\n"
    live.kill_sandbox("from-snapshot")
    live.delete_snapshot(snapshot.snapshot_id)


def test_a_fork_is_a_project_of_its_own(live: Client, sandbox: SandboxPanel) -> None:
    """Fork gives another project the same files; a change there is none here, and both sandboxes live."""
    press(sandbox.fork_button)
    assert sandbox.ask.answer.value == "default-copy"
    press(sandbox.ask.yes)
    until(lambda: "Project default-copy has a copy" in sandbox.message.value, sandbox.message.value)
    assert live.read_text("kept.txt", project="default-copy") == "original\n"
    live.write_file("kept.txt", "changed\n", project="default-copy")
    assert live.read_text("kept.txt") == "original\n"
    copy = live.get_sandbox_status("default-copy")
    assert (copy.state, copy.sandbox_id in sandbox.message.value) == ("running", True)
    live.kill_sandbox("default-copy")


def test_a_name_that_cannot_be_is_told(live: Client, sandbox: SandboxPanel) -> None:
    """A fork's project whose name no project can have is refused in one line, and nothing is made."""
    before = len(live.list_sandboxes())
    press(sandbox.fork_button)
    enter(sandbox.ask.answer, "no/such name")
    until(lambda: "e2b-error" in sandbox.message.value, "the error")
    assert "no/such name" in sandbox.message.value
    assert "please report" not in sandbox.message.value
    assert len(live.list_sandboxes()) == before


def test_the_heading_tells_of_a_rest(live: Client, sandbox: SandboxPanel) -> None:
    """Above the tabs a sandbox that rests is told as paused, and not as none."""
    panel = Panel(live)
    until(lambda: "left" in panel._heading.value)
    press(sandbox.pause_button)
    until(lambda: "paused" in panel._heading.value, panel._heading.value)
    until(lambda: not sandbox.resume_button.disabled)
    press(sandbox.resume_button)
    until(lambda: "left" in panel._heading.value, panel._heading.value)
    panel.close()
