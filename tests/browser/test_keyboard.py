"""A panel without a mouse and without eyes: by keyboard alone, and as a screen reader is told of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from .pages import LOAD, PANEL, PanelPage, open_notebook

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from .conftest import Jupyter

NAMELESS = re.compile(r"^\s*- (?:button|textbox|combobox|checkbox|tab|link|img|progressbar|listbox)(?: \[\w+\])*:?$")
"""A line of Playwright's accessibility tree that tells of a control without a name."""


@pytest.fixture(scope="module", params=["lab", "notebook"])
def panel(request: pytest.FixtureRequest, browser: Browser, jupyter: Jupyter) -> Iterator[PanelPage]:
    """Gives a panel in JupyterLab, then one in Notebook 7."""
    page = open_notebook(browser, jupyter, request.param, f"keyboard-{request.param}.ipynb", LOAD, PANEL)
    yield PanelPage(page)
    page.close()


def test_a_command_is_run_and_stopped(panel: PanelPage) -> None:
    """Enter in the field runs; the next stop of Tab is the Stop button, and Space presses it."""
    keyboard = panel.page.keyboard
    panel.turn_to("Run").root.get_by_label("Command", exact=True).focus()
    keyboard.type("echo typed; sleep 1000")
    keyboard.press("Enter")
    panel.output("typed")
    keyboard.press("Tab")
    assert panel.page.evaluate("document.activeElement.textContent.trim()") == "Stop"
    keyboard.press("Space")
    panel.badge("stopped")


def test_what_is_typed_is_kept(panel: PanelPage) -> None:
    """A half-written command stays in its field when something is run elsewhere, which the field offers later."""
    field = panel.turn_to("Run").root.get_by_label("Command", exact=True)
    field.fill("")
    field.press_sequentially("echo half")
    code = "from e2b_magic.client import shared_client; shared_client().execute_command('echo elsewhere')"
    kernel = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
    panel.page.evaluate(f"code => {kernel}.requestExecute({{code}}).done", code)
    panel.page.wait_for_timeout(1500)  # longer than a panel takes to learn of it
    assert field.input_value() == "echo half"
    field.press_sequentially(" and half; exit 5")
    field.press("Enter")
    panel.badge("exit 5")
    panel.output("half and half")
    panel.root.locator('datalist option[value="echo elsewhere"]').first.wait_for(state="attached")


def test_it_is_told_to_a_screen_reader(panel: PanelPage) -> None:
    """In every tab's accessibility tree each control has a name, and states, logs and pictures are what they are."""
    panel.turn_to("Run").run("echo heard; exit 6")
    panel.badge("exit 6")
    told: dict[str, str] = {}
    for tab in ("Run", "Files", "History", "Server", "Sandbox", "Settings"):
        panel.turn_to(tab)
        if tab == "Sandbox":
            panel.root.locator("svg:visible").first.wait_for()
        panel.page.wait_for_timeout(700)
        told[tab] = panel.root.aria_snapshot()
        assert [line for line in told[tab].splitlines() if NAMELESS.match(line)] == [], tab
        assert f'- tab "{tab}" [selected]' in told[tab]
    assert 'combobox "Command"' in told["Run"]
    assert re.search(r'button "[^"]*Stop" \[disabled\]', told["Run"])  # an icon's letter comes before the name
    assert 'log "Output of the command": heard' in told["Run"]
    assert "- status: exit 6" in told["Run"]
    assert 'img "CPU: ' in told["Sandbox"]
