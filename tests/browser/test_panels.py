"""What a person does with a panel, done in a real browser."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from .pages import LOAD, PANEL, PATIENCE, Cells, PanelPage, execute, open_notebook, wait_for_kernel

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from .conftest import Jupyter

PLAIN = """
import ipywidgets
button, count = ipywidgets.Button(description="Plain"), ipywidgets.HTML("0")
count.add_class("plain-count")
button.on_click(lambda _: setattr(count, "value", str(int(count.value) + 1)))
ipywidgets.HBox([button, count])
"""
"""A button of no panel, which has its presses counted."""
FIELDS = "import ipywidgets\nipywidgets.VBox([ipywidgets.Text() for _ in range(26)])"
"""As many fields as a panel has widgets that are seen at once."""
HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'


@pytest.fixture(scope="module", params=["lab", "notebook"])
def panel(request: pytest.FixtureRequest, browser: Browser, jupyter: Jupyter) -> Iterator[PanelPage]:
    """Gives a panel in JupyterLab, then one in Notebook 7."""
    cells = (LOAD, PANEL, "%e2b panel history", PLAIN)
    page = open_notebook(browser, jupyter, request.param, f"{request.param}.ipynb", *cells)
    yield PanelPage(page)
    page.close()


@pytest.fixture(scope="module")
def strict(browser: Browser, jupyter: Jupyter) -> Iterator[PanelPage]:
    """Gives a panel in a JupyterLab that allows no event handlers in HTML, beside as many plain fields."""
    policy = "script-src-attr 'none'"
    cells = (LOAD, "panel = %e2b panel\npanel", FIELDS)
    page = open_notebook(browser, jupyter, "lab", "strict.ipynb", *cells, policy=policy)
    yield PanelPage(page)
    page.close()


in_lab = pytest.mark.parametrize("panel", ["lab"], indirect=True)
"""What needs to be seen in one front end only."""


def test_a_command_streams_and_is_stopped(panel: PanelPage) -> None:
    """Enter runs; output comes while the command runs; the exit code is told; Stop ends what runs."""
    panel.turn_to("Run").run("for i in 1 2 3 4; do echo tick $i; sleep 0.5; done; exit 3")
    panel.output("tick 1")
    assert "tick 4" not in panel.root.inner_text()
    panel.output("tick 4")
    panel.badge("exit 3")
    panel.run("echo waiting; sleep 1000")
    panel.output("waiting")
    panel.press("Stop")
    panel.badge("stopped")


def test_a_file_is_found_changed_and_saved(panel: PanelPage) -> None:
    """A directory opens, a file in it is edited and saved, and a command sees the new text."""
    panel.turn_to("Run").run("mkdir -p src && echo old > src/notes.txt && echo made")
    panel.output("made")
    panel.turn_to("Files")
    panel.row("src").click()
    panel.row("notes.txt").click()
    text = panel.root.locator("textarea:visible")
    _until(lambda: text.input_value() == "old\n", panel.page)
    text.fill("new\nlines\n")
    panel.press("Save")
    panel.sees("Saved /home/user/src/notes.txt")
    panel.turn_to("Run").run("cat src/notes.txt")
    panel.output("lines")


@in_lab
def test_files_go_up_and_down(panel: PanelPage, tmp_path: Path) -> None:
    """A file of the person's computer is uploaded, and comes back through the browser as it was."""
    local = tmp_path / "up.bin"
    local.write_bytes(bytes(range(256)) * 40)
    panel.turn_to("Run").run("true")
    panel.turn_to("Files")
    with panel.page.expect_file_chooser() as chosen:
        panel.root.locator(".widget-upload:visible").click()
    chosen.value.set_files(str(local))
    panel.sees("Uploaded up.bin")
    panel.row("up.bin").click()
    panel.press("Download")
    with panel.page.expect_download() as saved:
        panel.root.get_by_text("Save up.bin").click()
    assert saved.value.suggested_filename == "up.bin"
    assert Path(saved.value.path()).read_bytes() == local.read_bytes()


def test_history_runs_again_and_panels_are_in_step(panel: PanelPage) -> None:
    """What one panel runs is in the other's history at once; from there it runs again, each in its own panel."""
    other = PanelPage(panel.page, 1)
    once = f"echo once $((40 + 2)) # {_name(panel)}"
    panel.turn_to("Run").run(once)
    panel.output("once 42")
    other.row(once).click()
    assert f"%%e2b\n{once}" in other.root.locator("textarea:visible").first.input_value()
    other.press("Run again")
    other.output("once 42")
    panel.run("echo only here")
    panel.output("only here")
    assert "only here" not in other.root.locator(".e2b-well:visible").inner_text()


def _look_at_the_sandbox(panel: PanelPage, *, holding: str) -> None:
    """Shows the Sandbox tab of a sandbox that lives and holds a file."""
    panel.turn_to("Run").run(f"echo kept > {holding}; echo written")
    panel.output("written")
    panel.turn_to("Sandbox").sees("ends in")


@in_lab
def test_pause_and_resume(panel: PanelPage) -> None:
    """The sandbox rests, says so, and wakes with its files."""
    _look_at_the_sandbox(panel, holding="rested.txt")
    panel.press("Pause")
    panel.sees("paused, its files kept")
    panel.press("Resume")
    panel.sees("ends in")
    panel.turn_to("Run").run("cat rested.txt")
    panel.output("kept")


@in_lab
def test_kill_and_recover(panel: PanelPage) -> None:
    """Kill asks first; then the sandbox and its files are gone, and the next command has a new one."""
    _look_at_the_sandbox(panel, holding="kept.txt")
    panel.press("Kill")
    panel.root.locator('.mod-danger:visible:text-is("Kill")').click()
    panel.sees("none yet")
    panel.turn_to("Run").run("ls kept.txt || echo gone")
    panel.output("gone")


@in_lab
def test_a_server_is_started_and_its_page_seen(panel: PanelPage) -> None:
    """A dev server is started, its page is opened in a page of its own, its log grows, and Stop ends it."""
    panel.turn_to("Run").run("echo '<h1>Hello from the sandbox</h1>' > index.html; echo written")
    panel.output("written")
    panel.turn_to("Server").root.get_by_label("Server", exact=True).fill("python3 -u -m http.server $PORT")
    panel.press("Start")
    panel.sees("The server answers on port 8000")
    with panel.page.expect_popup() as opened:
        panel.root.locator('a[target="_blank"]:visible').click()
    opened.value.get_by_text("Hello from the sandbox").wait_for()
    assert opened.value.evaluate("window.opener") is None
    opened.value.close()
    panel.output("GET / HTTP")
    panel.press("Stop")
    panel.row("stopped").wait_for()


@in_lab
def test_a_snapshot_and_a_fork_are_made(panel: PanelPage) -> None:
    """Snapshot and Fork ask for a name and say what they made; the fork's project has the files."""
    panel.turn_to("Run").run("echo forked > forked.txt; echo written")
    panel.output("written")
    panel.turn_to("Sandbox").sees("ends in")
    panel.press("Snapshot")
    panel.answer("of-the-browser")
    panel.sees("Took snapshot")
    panel.press("Fork")
    panel.answer("the-copy")
    panel.sees("Project the-copy has a copy")
    panel.turn_to("Settings").root.get_by_label("Project", exact=True).fill("the-copy")
    panel.press("Use")
    panel.sees("The current project is the-copy")
    panel.turn_to("Run").run("cat forked.txt; exit 4")
    panel.badge("exit 4")
    panel.output("forked")
    panel.turn_to("Settings").root.get_by_label("Project", exact=True).fill("default")
    panel.press("Use")
    panel.sees("The current project is default")


def test_hostile_output_and_names_are_inert(panel: PanelPage) -> None:
    """HTML and scripts in output, names, files and commands are shown as text and do nothing."""
    panel.turn_to("Run").run(f"echo '{HOSTILE}'; touch '<img src=x onerror=window.pwned=2>'")
    panel.output(HOSTILE)
    panel.turn_to("Files")
    panel.row("<img src=x onerror=window.pwned=2>").click()
    panel.sees("/home/user/<img src=x onerror=window.pwned=2>")
    panel.turn_to("History")
    panel.row("<img src=x").click()
    panel.page.wait_for_timeout(500)
    assert panel.page.evaluate("window.pwned") is None
    assert panel.root.locator("img, script").count() == 0


def test_a_saved_notebook_has_no_secret(panel: PanelPage, jupyter: Jupyter) -> None:
    """A variable's value and a key that were typed are in the command and in no saved notebook, state included."""
    panel.turn_to("Run").root.get_by_text("Options").first.click()
    field = panel.root.get_by_label("Variable")
    field.fill("TOKEN=canary-value")
    field.press("Enter")
    panel.sees("TOKEN")
    panel.run("echo length ${#TOKEN}")
    panel.output("length 12")
    panel.turn_to("Settings").root.get_by_label("E2B API key").fill("e2b_canary0123")
    panel.root.get_by_label("E2B API key").press("Tab")
    panel.sees("The key is held in memory")
    saved = _saved(panel, jupyter)
    assert "canary" not in saved
    outputs = [output for cell in json.loads(saved)["cells"] for output in cell["outputs"]]
    assert any("Run this cell with a kernel" in "".join(output["data"]["text/html"]) for output in outputs)


def _saved(panel: PanelPage, jupyter: Jupyter) -> str:
    """Has the notebook saved, widgets' state included, and gives its text."""
    path = jupyter.root / _name(panel)
    execute(panel.page, "docmanager:save")
    _until(lambda: "widget-state" in path.read_text(), panel.page)
    return path.read_text()


def _name(panel: PanelPage) -> str:
    return Path(urlsplit(panel.page.url).path).name


def test_a_reopened_notebook_has_a_text(panel: PanelPage, browser: Browser, jupyter: Jupyter) -> None:
    """Where no kernel is to be had, a readable line stands in the panel's place."""
    notebook = json.loads(_saved(panel, jupyter))
    notebook["metadata"]["kernelspec"]["name"] = "there-is-none"
    name = f"reopened-{_name(panel)}"
    (jupyter.root / name).write_text(json.dumps(notebook))
    page = browser.new_page()
    page.goto(jupyter.address("lab" if "/lab/" in panel.page.url else "notebook", name))
    text = page.locator(".jp-OutputArea-output", has_text="Run this cell with a kernel to use it").first
    text.wait_for(timeout=PATIENCE)
    assert "Panel of e2b-magic, project default on embedded" in text.inner_text()
    page.close()


def _until(condition: Any, page: Page) -> None:
    for _ in range(300):
        if condition():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it did not happen")


@pytest.mark.parametrize("frontend", ["lab", "notebook"])
def test_a_reload_and_a_restart(browser: Browser, jupyter: Jupyter, frontend: str) -> None:
    """After a reload the panel lives on; after a restart of the kernel the cell brings one with the old history."""
    name = f"again-{frontend}.ipynb"
    page = open_notebook(browser, jupyter, frontend, name, LOAD, PANEL)
    panel = PanelPage(page)
    panel.run("echo before the reload")
    panel.output("before the reload")
    execute(page, "docmanager:save")
    path = jupyter.root / name
    _until(lambda: "widget-view" in path.read_text(), page)
    page.reload()
    panel.output("before the reload")
    panel.run("echo after the reload")
    panel.output("after the reload")
    sessions = json.loads(jupyter.ask("GET", "/api/sessions"))
    session = next(one for one in sessions if one["path"].endswith(name))
    page.evaluate("document.querySelector('.e2b-tabs').dataset.old = 'yes'")
    jupyter.ask("POST", f"/api/kernels/{session['kernel']['id']}/restart")
    wait_for_kernel(page)
    execute(page, "notebook:run-all-cells")
    page.wait_for_selector(".e2b-tabs:not([data-old]) input")  # what is typed into the old panel, nobody hears
    panel.run("echo after the restart")
    panel.output("after the restart")
    panel.turn_to("History")
    panel.row("echo before the reload").wait_for()
    page.close()


def test_it_shows_quickly(strict: PanelPage) -> None:
    """On a warm kernel the panel is seen within 300 ms of the call, beside as many plain fields in the same page."""
    page = strict.page
    strict.sees("on this machine")
    page.wait_for_selector(".jp-OutputArea .widget-vbox:not(.e2b):not(.e2b *) input")
    ours: list[float] = []
    plain: list[float] = []
    while len(ours) < 5 or (len(ours) < 20 and min(ours) >= 300):  # as soon as the machine is calm for that long
        ours.append(page.evaluate(_MEASURE_SHOWING, [1, ".e2b-tabs"]))
        plain.append(page.evaluate(_MEASURE_SHOWING, [2, ".widget-vbox"]))
    ratio = median(ours) / median(plain)
    print(
        f"shown after {median(ours):.0f} ms, at best {min(ours):.0f}; as many fields {median(plain):.0f}: {ratio:.1f}"
    )
    assert min(ours) < 300
    assert ratio < 4


# Runs a cell again and waits for a field in its new output, frame by frame.
_MEASURE_SHOWING = """async ([cell, selector]) => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  notebook.activeCellIndex = cell;
  const output = () => notebook.widgets[cell].node.querySelector(`.jp-OutputArea ${selector}`);
  const before = output();
  const began = performance.now();
  window.jupyterapp.commands.execute('notebook:run-cell');
  while (output() === before || !output() || !output().querySelector('input'))
    await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""


@in_lab
def test_ten_thousand_lines_leave_the_page_free(panel: PanelPage) -> None:
    """While ten thousand lines stream a button still answers within 200 ms, and the page keeps but the last of them.

    Beside a button of no panel, in the same page while nothing streams: on a machine on which that one is slow too, the
    bound is a multiple of what it takes.
    """
    page = panel.page
    other = PanelPage(page, 1)
    panel.turn_to("Run").run("exit 7")
    panel.badge("exit 7")
    other.turn_to("Sandbox").sees("ends in")
    plain = [float(page.evaluate(_MEASURE_PLAIN)) for _ in range(10)]
    before = page.evaluate("performance.memory.usedJSHeapSize")
    script = "import time; [(print('line', n, 'x' * 60, flush=True), time.sleep(0.0002)) for n in range(10000)]"
    panel.turn_to("Run").run(f'python3 -c "{script}" && echo the end')
    panel.output("line 1")
    times: list[float] = []
    while not panel.root.locator(".e2b-well:visible", has_text="the end").count():
        times.append(_answer_time(other))
    panel.output("the end")
    assert "line 9999" in panel.root.locator(".e2b-well:visible").inner_text()
    length = page.evaluate("el => el.textContent.length", panel.root.locator(".e2b-well:visible").element_handle())
    grown = page.evaluate("performance.memory.usedJSHeapSize") - before
    slowest = sorted(times)[len(times) * 9 // 10]
    print(
        f"answered {len(times)} times, after {median(times):.0f} ms in the median, nine of ten within {slowest:.0f}; "
        f"a plain button idle {median(plain):.0f}; the page grew by {grown // 1_000_000} MB"
    )
    assert len(times) > 5
    assert slowest < max(200, 4 * median(plain))
    assert length < 50_000
    assert grown < 100_000_000


# Presses the button of no panel, and waits for the kernel's answer, frame by frame.
_MEASURE_PLAIN = """async () => {
  const button = [...document.querySelectorAll('button')].find(one => one.textContent.trim() === 'Plain');
  const count = document.querySelector('.plain-count');
  const before = count.textContent;
  const began = performance.now();
  button.click();
  while (count.textContent === before) await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""


def _answer_time(panel: PanelPage) -> float:
    """Gives how long after a press the kernel's answer to it is seen, in milliseconds."""
    yes = panel.root.locator('button:text-is("Kill")').first.element_handle()
    no = panel.root.locator('button:text-is("Cancel")').first.element_handle()
    measure = """async ([kill, cancel]) => {
      const seen = () => cancel.offsetParent !== null;
      const press = async (button, wanted) => {
        const began = performance.now();
        button.click();
        while (seen() !== wanted) await new Promise(requestAnimationFrame);
        return performance.now() - began;
      };
      const took = await press(kill, true);
      await press(cancel, false);
      return took;
    }"""
    return float(panel.page.evaluate(measure, [yes, no]))


@in_lab
def test_a_long_directory_pages_smoothly(panel: PanelPage) -> None:
    """Five thousand entries are shown sixty at a time, and a page is turned in a moment."""
    panel.turn_to("Run").run("mkdir -p many && cd many && seq -f %05.0f 5000 | xargs touch; echo made")
    panel.output("made")
    field = panel.turn_to("Files").root.get_by_label("Directory").locator("visible=true")
    field.fill("many")
    field.press("Enter")
    panel.sees("1 to 60 of 5,000")
    began = time.perf_counter()
    for page in range(1, 11):
        panel.press("Next")
        panel.sees(f"{page * 60 + 1:,} to {page * 60 + 60:,} of 5,000")
    print(f"a page took {(time.perf_counter() - began) / 10 * 1000:.0f} ms")
    assert (time.perf_counter() - began) / 10 < 2
    assert panel.root.locator(".e2b-row:visible").count() == 60


def test_a_panel_works_while_a_cell_runs(strict: PanelPage) -> None:
    """Output streams into the panel while a cell keeps the kernel busy, and never into that cell."""
    command = "for i in 1 2 3; do echo beat $i; sleep 0.7; done"
    cell = Cells(strict.page).begin(
        f"panel.run.command.value = {command!r}\npanel.run.run()\nimport time; time.sleep(5)"
    )
    strict.output("beat 3")
    assert strict.page.locator('.jp-Notebook-ExecutionIndicator[data-status="busy"]').count() == 1
    assert cell.locator(".jp-OutputArea-child", has_text="beat").count() == 0


def test_without_handlers_the_buttons_are_there(strict: PanelPage) -> None:
    """In a page that forbids what listens for Escape, the key does nothing, and Stop stops."""
    strict.run("echo waiting; sleep 1000")
    strict.output("waiting")
    strict.root.get_by_label("Command", exact=True).press("Escape")
    strict.page.wait_for_timeout(500)
    strict.badge("running")
    strict.press("Stop")
    strict.badge("stopped")


# Gives what can be pressed or typed into and is not all within the panel, which would hide it or scroll to it.
_STICKING_OUT = """panel => {
  const edge = panel.getBoundingClientRect().right + 1;
  const controls = [...panel.querySelectorAll("button, input, select, textarea")].filter((one) => one.offsetParent);
  const out = controls.filter((one) => one.getBoundingClientRect().right > edge).map((one) => one.outerHTML);
  return panel.scrollWidth - panel.clientWidth > 1 ? [...out, "the panel"] : out;
}"""


@pytest.mark.parametrize("panel", ["notebook"], indirect=True)
def test_a_narrow_page_is_usable(panel: PanelPage) -> None:
    """On 400 px nothing sticks out, and a command runs."""
    panel.page.set_viewport_size({"width": 400, "height": 900})
    panel.turn_to("Run").run("echo narrow")
    panel.output("narrow")
    for tab in ("Files", "History", "Server", "Sandbox", "Settings", "Run"):
        panel.turn_to(tab)
        panel.page.wait_for_timeout(500)
        assert panel.root.evaluate(_STICKING_OUT) == [], tab
    panel.page.set_viewport_size({"width": 1100, "height": 900})
