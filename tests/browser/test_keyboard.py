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
    cells = (LOAD, PANEL, "from e2b_magic import RunPanel\nRunPanel()")
    page = open_notebook(browser, jupyter, request.param, f"keyboard-{request.param}.ipynb", *cells)
    yield PanelPage(page)
    page.close()


def _begin(panel: PanelPage, command: str = "echo typed; sleep 1000") -> None:
    """Runs a command by keyboard alone, and waits for its output."""
    panel.turn_to("Run").root.get_by_label("Command", exact=True).fill("")
    panel.root.get_by_label("Command", exact=True).focus()
    panel.page.keyboard.type(command)
    panel.page.keyboard.press("Enter")
    panel.badge("running")
    panel.output("typed")


def test_a_command_is_run_and_stopped(panel: PanelPage) -> None:
    """Enter in the field runs; the next stop of Tab is the Stop button, and Space or Enter presses it."""
    keyboard = panel.page.keyboard
    for key in ("Space", "Enter"):
        _begin(panel)
        keyboard.press("Tab")
        assert panel.page.evaluate("document.activeElement.textContent.trim()") == "Stop"
        keyboard.press(key)
        panel.badge("stopped")


def test_escape_stops(panel: PanelPage) -> None:
    """Escape in the command's field ends the command, once, though the page took the panel out and put it back."""
    _begin(panel)
    stop = panel.button("Stop").element_handle()
    panel.page.evaluate("stop => { window.stops = 0; stop.addEventListener('click', () => window.stops++); }", stop)
    panel.root.evaluate(
        """async panel => {
          const [parent, next] = [panel.parentNode, panel.nextSibling];
          for (let time = 0; time < 3; time++) {
            panel.remove();
            parent.insertBefore(panel, next);
            await new Promise(requestAnimationFrame);
          }
        }"""
    )
    field = panel.root.get_by_label("Command", exact=True)
    field.focus()
    panel.page.keyboard.press("Control+Escape")
    panel.page.keyboard.press("Escape")
    panel.badge("stopped")
    assert panel.page.evaluate("window.stops") == 1
    assert field.input_value() == "echo typed; sleep 1000"


def test_escape_is_the_panels_own(panel: PanelPage) -> None:
    """In a cell Escape leaves the editor, in another panel it ends what runs there: this one's command runs on."""
    page = panel.page
    _begin(panel)
    page.locator(".jp-CodeCell .cm-content").first.click()
    page.locator(".jp-Notebook.jp-mod-editMode").wait_for()
    page.keyboard.press("Escape")
    page.locator(".jp-Notebook.jp-mod-commandMode").wait_for()
    alone = page.locator(".jp-OutputArea .e2b").last
    field = alone.get_by_label("Command", exact=True)
    field.fill("echo alone; sleep 1000")
    field.press("Enter")
    alone.locator(".e2b-well", has_text="alone").wait_for()
    field.press("Escape")
    alone.locator(".e2b-badge", has_text="stopped").wait_for()
    panel.badge("running")
    stop = panel.button("Stop").element_handle()
    page.evaluate("stop => { window.unseen = 0; stop.addEventListener('click', () => window.unseen++); }", stop)
    panel.turn_to("Files").root.get_by_label("Directory").locator("visible=true").press("Escape")
    assert page.evaluate("window.unseen") == 0
    panel.turn_to("Run").badge("running")
    panel.root.get_by_label("Command", exact=True).press("Escape")
    panel.badge("stopped")


def test_escape_takes_a_question_back(panel: PanelPage) -> None:
    """A question has the focus; Escape there, as Cancel, does nothing else than to end it."""
    panel.turn_to("Files").press("New folder")
    answer = panel.root.locator(".e2b-line:visible:has([role=alert]) input:visible")
    answer.wait_for()
    panel.page.wait_for_function("field => field === document.activeElement", arg=answer.element_handle())
    panel.page.keyboard.type("never-made")
    panel.page.keyboard.press("Escape")
    answer.wait_for(state="hidden")
    panel.turn_to("Run").run("ls -d never-made || echo there is none")
    panel.output("there is none")


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
