"""A notebook and a panel in it, as a person sees and uses them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

    from .conftest import Jupyter

PATIENCE = 60_000
"""How long anything may take to be seen, in milliseconds: the machine may be busy."""
LOAD = "%load_ext e2b_magic"
PANEL = "%e2b panel"
_RUN = re.compile(r"\[\d+\]")
"""A cell's prompt when it has run."""


class PanelPage:
    """One of the panels on a page.

    Args:
        page: The page.
        place: Which of its panels.
    """

    def __init__(self, page: Page, place: int = 0) -> None:
        self.page = page
        self.root: Locator = page.locator(".jp-OutputArea .e2b:has(> .e2b-tabs)").nth(place)

    def turn_to(self, tab: str) -> PanelPage:
        """Shows a tab."""
        self.root.get_by_role("tab", name=tab, exact=True).click()
        return self

    def press(self, name: str) -> None:
        """Presses the button of a name that is seen."""
        self.button(name).click()

    def button(self, name: str) -> Locator:
        """Gives the button of a name that is seen."""
        return self.root.locator(f'button:visible:text-is("{name}")').first

    def run(self, command: str) -> None:
        """Types a command and presses Enter."""
        # A command's last output may be seen a moment before it is over, and one panel runs one at a time.
        self.root.locator('button:visible:not([disabled]):text-is("Run")').first.wait_for(timeout=PATIENCE)
        field = self.root.get_by_label("Command", exact=True)
        field.fill(command)
        field.press("Enter")

    def sees(self, text: str) -> None:
        """Waits until a text is seen in the panel."""
        self.root.locator(":visible", has_text=text).first.wait_for(timeout=PATIENCE)

    def output(self, text: str) -> None:
        """Waits until a text is seen in a command's output."""
        from playwright.sync_api import TimeoutError as NotSeen

        try:
            self.root.locator(".e2b-well:visible", has_text=text).first.wait_for(timeout=PATIENCE)
        except NotSeen as error:
            error.add_note(f"the panel shows {self.root.inner_text()!r}")
            raise

    def badge(self, text: str) -> None:
        """Waits until a state is seen."""
        self.root.locator(f'.e2b-badge:visible:text-is("{text}")').first.wait_for(timeout=PATIENCE)

    def row(self, text: str) -> Locator:
        """Gives the row that holds a text."""
        return self.root.locator(".e2b-row:visible", has_text=text).first

    def answer(self, text: str) -> None:
        """Answers the question that the panel asks."""
        field = self.root.locator(".e2b-line:visible:has([role=alert]) input:visible").first
        field.fill(text)
        field.press("Enter")


class Cells:
    """The cells of a notebook in JupyterLab, typed and run one after the other.

    Args:
        page: The page.
    """

    def __init__(self, page: Page) -> None:
        self.page = page

    def run(self, code: str, says: str = "", patience: int = PATIENCE) -> Locator:
        """Types a cell below all others, runs it, and gives its output.

        Args:
            code: What is typed.
            says: What its output has to hold.
            patience: How long it may take to end, in milliseconds.
        """
        cell = self.begin(code)
        cell.locator(".jp-InputPrompt", has_text=_RUN).wait_for(timeout=patience)
        output = cell.locator(".jp-OutputArea-output, .jp-OutputArea")
        if says:
            output.filter(has_text=says).first.wait_for(timeout=PATIENCE)
        return cell.locator(".jp-OutputArea").first

    def begin(self, code: str) -> Locator:
        """Types a cell below all others, has it run, and gives it."""
        page = self.page
        page.evaluate("window.jupyterapp.commands.execute('notebook:insert-cell-below')")
        cell = page.locator(".jp-CodeCell").last
        cell.locator(".cm-content").click()
        page.keyboard.insert_text(code)  # at once: letter by letter the editor would close brackets and indent
        page.keyboard.press("Control+Enter")
        return cell


def open_notebook(
    browser: Browser,
    jupyter: Jupyter,
    frontend: str,
    name: str,
    *cells: str,
    width: int = 1100,
    height: int = 900,
    policy: str = "",
) -> Page:
    """Opens a new notebook, under a Content-Security-Policy if wanted, and runs all its cells."""
    jupyter.write(name, *cells)
    page = browser.new_page(viewport={"width": width, "height": height}, accept_downloads=True)
    page.set_default_timeout(PATIENCE)
    page.goto(jupyter.address(frontend, name))
    wait_for_kernel(page)
    if policy:
        page.evaluate(_SET_POLICY, policy)
    execute(page, "notebook:run-all-cells")
    return page


_SET_POLICY = """policy => {
  const meta = document.createElement('meta');
  meta.httpEquiv = 'Content-Security-Policy';
  meta.content = policy;
  document.head.append(meta);
}"""


def wait_for_kernel(page: Page) -> None:
    """Waits until the notebook is there and its kernel answers."""
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.wait_for_function(
        """() => {
          const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
          return kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
        }"""
    )


def execute(page: Page, command: str, arguments: dict[str, Any] | None = None) -> None:
    """Has the front end execute one of its commands, without waiting for what that takes."""
    page.evaluate("([id, args]) => { window.jupyterapp.commands.execute(id, args); }", [command, arguments or {}])
