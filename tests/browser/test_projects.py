"""A project from `%e2b setup` to the page in the notebook, typed into a real JupyterLab's cells.

Twice: with the work done in the kernel and the page at its sandbox's own address, and with the work done by the Jupyter
server and the page shown through its preview route, at an opaque origin.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2b_magic.project_templates import find_template
from tests.registries import npm_registry

from .conftest import serve
from .pages import PATIENCE, Cells, open_notebook

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FrameLocator, Page

    from .conftest import Jupyter

HERE = "%env E2B_MAGIC_WORKER_URL="
"""What has a kernel do the work itself, and not ask the Jupyter server that has started it."""
ROUTES = {
    "at its own address": (HERE, r"http://(\d+)-\w+\.localhost:\d+/"),
    "through the server": ("import os; assert os.environ['E2B_MAGIC_WORKER_URL']", r".*/e2b-magic/preview-[\w-]{20,}/"),
}
"""By which way a page is seen: the notebook's first cell, and the address at which the page then is."""


@pytest.fixture(scope="module", params=ROUTES)
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Jupyter]]:
    """Gives one of the two ways, and a Jupyter server that goes it."""
    if request.param == "at its own address":
        yield request.param, request.getfixturevalue("jupyter")
        return
    for jupyter in serve(tmp_path_factory.mktemp("projects"), "--E2BMagicApp.preview_route=always"):
        yield request.param, jupyter


@pytest.fixture(scope="module")
def notebook(lab: tuple[str, Jupyter], browser: Browser) -> Iterator[Cells]:
    """Gives a notebook with the magics loaded."""
    way, jupyter = lab
    name = f"projects-{way.replace(' ', '-')}.ipynb"
    page = open_notebook(browser, jupyter, "lab", name, ROUTES[way][0], "%load_ext e2b_magic", height=1500)
    yield Cells(page)
    page.close()


@pytest.fixture
def cells(notebook: Cells, request: pytest.FixtureRequest) -> Iterator[Cells]:
    """Gives that notebook, whose next cells a test types."""
    yield notebook
    if folder := os.environ.get("E2B_MAGIC_SCREENSHOTS"):
        name = re.sub(r"\W+", "-", request.node.name).strip("-")
        notebook.page.screenshot(path=str(Path(folder) / f"{name}.png"))


def _files(template: str) -> Path:
    found = find_template(template)
    return Path(str(found.files))


def _frame(cells: Cells, way: str) -> tuple[FrameLocator, Any]:
    """Gives the frame that a preview has shown, once its page is there, and checks where that page is."""
    element = cells.page.locator(".jp-OutputArea iframe").last
    shown = element.content_frame
    shown.get_by_text("It works").wait_for(timeout=PATIENCE)
    frame = element.element_handle().content_frame()
    assert frame is not None
    assert re.fullmatch(ROUTES[way][1], frame.url), frame.url
    assert frame.evaluate("self.origin === 'null'") == (way == "through the server")
    return shown, frame


def _sockets(page: Page) -> list[str]:
    addresses: list[str] = []
    page.on("websocket", lambda socket: addresses.append(socket.url))
    return addresses


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_edit_appears_without_a_reload(cells: Cells, lab: tuple[str, Jupyter]) -> None:
    """Vite's page is in the notebook, its button counts, and a cell that writes a file changes it in place."""
    way, page = lab[0], cells.page
    told = cells.run(f"%e2b run command -v npm && curl -sfo /dev/null --max-time 20 {npm_registry()}react && echo yes")
    if "yes" not in told.inner_text():
        pytest.skip("no npm under /usr, or its registry does not answer from a sandbox")
    sockets = _sockets(page)
    page.on("console", lambda message: print(message.text))  # where a page that does not change says why
    cells.run("%e2b setup web --template vite-react", "Project web is ready", patience=600_000)
    cells.run("%e2b dev npm run dev", "running on port 5173", patience=180_000)
    # What is edited before Vite's own socket is there is told to no page.
    with page.expect_console_message(lambda message: "[vite] connected" in message.text, timeout=PATIENCE):
        cells.run("%e2b preview --height 300")
    shown, frame = _frame(cells, way)
    shown.get_by_role("button").click()
    shown.get_by_text("Clicked 1 times").wait_for()
    frame.evaluate("window.mark = 'as it was loaded'")
    source = (_files("vite-react") / "src" / "App.jsx").read_text()
    cells.run("%%e2b_file web/src/App.jsx\n" + source.replace("It works", "It changed"), "web/src/App.jsx")
    shown.get_by_text("It changed").wait_for(timeout=PATIENCE)
    # A reload would have lost both.
    assert shown.get_by_text("Clicked 1 times").is_visible()
    assert frame.evaluate("window.mark") == "as it was loaded"
    by_preview = [address for address in sockets if "/e2b-magic/preview-" in address]
    assert bool(by_preview) == (way == "through the server")


def test_an_edit_appears_with_a_reload(cells: Cells, lab: tuple[str, Jupyter]) -> None:
    """Without any network: a page that needs nothing installed is served, shown, edited, and new when reloaded."""
    cells.run("%e2b setup page --template static", "Project page is ready")
    cells.run("%e2b dev", "running on port 8000")
    cells.run("%e2b preview --height 300")
    shown, frame = _frame(cells, lab[0])
    shown.get_by_role("button").click()
    shown.get_by_text("Clicked 1 times").wait_for()  # its script and its style sheet have come, too
    assert frame.evaluate("getComputedStyle(document.body).display") == "grid"
    source = (_files("static") / "index.html").read_text()
    cells.run("%%e2b_file page/index.html\n" + source.replace("It works", "It changed"), "page/index.html")
    assert shown.get_by_text("It works").is_visible()
    frame.evaluate("location.reload()")
    shown.get_by_text("It changed").wait_for(timeout=PATIENCE)
    cells.run("%e2b stop", "stopped")


def test_a_page_reaches_nothing_of_jupyters(cells: Cells, lab: tuple[str, Jupyter]) -> None:
    """Shown in a cell, whichever way, a page's script reads neither the notebook around it nor Jupyter's API."""
    cells.run("%e2b setup sly --template python --port 8100", "Project sly is ready")
    cells.run("%e2b run mkdir -p sly/served && echo '<h1>It works</h1>' > sly/served/index.html")
    cells.run("%e2b dev --port 8100 --cwd sly/served python3 -m http.server 8100", "running on port 8100")
    cells.run("%e2b preview --height 200 8100")
    _, frame = _frame(cells, lab[0])
    tried = """async (address) => {
      const refused = async (action) => { try { return String(await action()); } catch { return "refused"; } };
      return [
        await refused(() => parent.document.title),
        await refused(async () => (await fetch(address, {credentials: "include"})).status),
        await refused(async () => (await fetch(address.replace("api", "e2b-magic/health"))).status),
      ];
    }"""
    assert frame.evaluate(tried, f"{lab[1].url}/api/contents") == ["refused"] * 3
