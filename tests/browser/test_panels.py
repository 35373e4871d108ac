"""What a person does with a panel, done in a real browser."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from .pages import LOAD, PANEL, PanelPage, execute, open_notebook, wait_for_kernel

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from .conftest import Jupyter

HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'


@pytest.fixture(scope="module", params=["lab", "notebook"])
def panel(request: pytest.FixtureRequest, browser: Browser, jupyter: Jupyter) -> Iterator[PanelPage]:
    """Gives a panel in JupyterLab, then one in Notebook 7."""
    page = open_notebook(browser, jupyter, request.param, f"{request.param}.ipynb", LOAD, PANEL)
    yield PanelPage(page)
    page.close()


@pytest.fixture(scope="module")
def lab(browser: Browser, jupyter: Jupyter) -> Iterator[PanelPage]:
    """Gives a panel in JupyterLab that the tests share which need no other front end."""
    page = open_notebook(browser, jupyter, "lab", "shared.ipynb", LOAD, PANEL, "%e2b panel history")
    yield PanelPage(page)
    page.close()


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


def test_files_go_up_and_down(lab: PanelPage, tmp_path: Path) -> None:
    """A file of the person's computer is uploaded, and comes back through the browser as it was."""
    local = tmp_path / "up.bin"
    local.write_bytes(bytes(range(256)) * 40)
    lab.turn_to("Run").run("true")
    lab.turn_to("Files")
    with lab.page.expect_file_chooser() as chosen:
        lab.root.locator(".widget-upload:visible").click()
    chosen.value.set_files(str(local))
    lab.sees("Uploaded up.bin")
    lab.row("up.bin").click()
    lab.press("Download")
    with lab.page.expect_download() as saved:
        lab.root.get_by_text("Save up.bin").click()
    assert saved.value.suggested_filename == "up.bin"
    assert Path(saved.value.path()).read_bytes() == local.read_bytes()


def test_history_runs_again_and_panels_are_in_step(lab: PanelPage) -> None:
    """What one panel runs is in the other's history at once; from there it runs again, each in its own panel."""
    other = PanelPage(lab.page, 1)
    lab.turn_to("Run").run("echo once $((40 + 2))")
    lab.output("once 42")
    other.row("echo once").click()
    assert "%%e2b\necho once" in other.root.locator("textarea:visible").first.input_value()
    other.press("Run again")
    other.output("once 42")
    lab.run("echo only here")
    lab.output("only here")
    assert "only here" not in other.root.locator(".e2b-well:visible").inner_text()


def test_pause_and_resume(lab: PanelPage) -> None:
    """The sandbox rests, says so, and wakes with its files."""
    lab.turn_to("Run").run("echo kept > rested.txt; echo written")
    lab.output("written")
    lab.turn_to("Sandbox").sees("ends in")
    lab.press("Pause")
    lab.sees("paused, its files kept")
    lab.press("Resume")
    lab.sees("ends in")
    lab.turn_to("Run").run("cat rested.txt")
    lab.output("kept")


def test_kill_and_recover(lab: PanelPage) -> None:
    """Kill asks first; then the sandbox and its files are gone, and the next command has a new one."""
    lab.turn_to("Run").run("echo kept > kept.txt; echo written")
    lab.output("written")
    lab.turn_to("Sandbox").sees("ends in")
    lab.press("Kill")
    lab.root.locator('.mod-danger:visible:text-is("Kill")').click()
    lab.sees("none yet")
    lab.turn_to("Run").run("ls kept.txt || echo gone")
    lab.output("gone")


def test_a_server_is_started_and_its_page_seen(lab: PanelPage) -> None:
    """A dev server is started, its page is opened in a page of its own, its log grows, and Stop ends it."""
    lab.turn_to("Run").run("echo '<h1>Hello from the sandbox</h1>' > index.html; echo written")
    lab.output("written")
    lab.turn_to("Server").root.get_by_label("Server", exact=True).fill("python3 -u -m http.server $PORT")
    lab.press("Start")
    lab.sees("The server answers on port 8000")
    with lab.page.expect_popup() as opened:
        lab.root.locator('a[target="_blank"]:visible').click()
    opened.value.get_by_text("Hello from the sandbox").wait_for()
    assert opened.value.evaluate("window.opener") is None
    opened.value.close()
    lab.output("GET / HTTP")
    lab.press("Stop")
    lab.row("stopped").wait_for()


def test_a_snapshot_and_a_fork_are_made(lab: PanelPage) -> None:
    """Snapshot and Fork ask for a name and say what they made; the fork's project has the files."""
    lab.turn_to("Run").run("echo forked > forked.txt; echo written")
    lab.output("written")
    lab.turn_to("Sandbox").sees("ends in")
    lab.press("Snapshot")
    lab.answer("of-the-browser")
    lab.sees("Took snapshot")
    lab.press("Fork")
    lab.answer("the-copy")
    lab.sees("Project the-copy has a copy")
    lab.turn_to("Settings").root.get_by_label("Project", exact=True).fill("the-copy")
    lab.press("Use")
    lab.sees("The current project is the-copy")
    lab.turn_to("Run").run("cat forked.txt; exit 4")
    lab.badge("exit 4")
    lab.output("forked")
    lab.turn_to("Settings").root.get_by_label("Project", exact=True).fill("default")
    lab.press("Use")
    lab.sees("The current project is default")


def test_hostile_output_and_names_are_inert(panel: PanelPage) -> None:
    """HTML and scripts in output, names, files and commands are shown as text and do nothing."""
    lab = panel
    lab.turn_to("Run").run(f"echo '{HOSTILE}'; touch '<img src=x onerror=window.pwned=2>'")
    lab.output(HOSTILE)
    lab.turn_to("Files")
    lab.row("<img src=x onerror=window.pwned=2>").click()
    lab.sees("/home/user/<img src=x onerror=window.pwned=2>")
    lab.turn_to("History")
    lab.row("<img src=x").click()
    lab.page.wait_for_timeout(500)
    assert lab.page.evaluate("window.pwned") is None
    assert lab.root.locator("img, script").count() == 0


def test_a_saved_notebook_has_no_secret(lab: PanelPage, jupyter: Jupyter) -> None:
    """A variable's value and a key that were typed are in the command and in no saved notebook, state included."""
    lab.turn_to("Run").root.get_by_text("Options").first.click()
    field = lab.root.get_by_label("Variable")
    field.fill("TOKEN=canary-value")
    field.press("Enter")
    lab.sees("TOKEN")
    lab.run("echo length ${#TOKEN}")
    lab.output("length 12")
    lab.turn_to("Settings").root.get_by_label("E2B API key").fill("e2b_canary0123")
    lab.root.get_by_label("E2B API key").press("Tab")
    lab.sees("The key is held in memory")
    execute(lab.page, "docmanager:save")
    path = jupyter.root / "shared.ipynb"
    _until(lambda: "widget-state" in path.read_text(), lab.page)
    saved = path.read_text()
    assert "canary" not in saved
    outputs = [output for cell in json.loads(saved)["cells"] for output in cell["outputs"]]
    assert any("Run this cell with a kernel" in "".join(output["data"]["text/html"]) for output in outputs)


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


def test_it_shows_quickly(browser: Browser, jupyter: Jupyter) -> None:
    """On a warm kernel the panel is seen within 300 ms of the call, beside as many plain fields in the same page."""
    fields = "import ipywidgets\nipywidgets.VBox([ipywidgets.Text() for _ in range(26)])"
    page = open_notebook(browser, jupyter, "lab", "quick.ipynb", LOAD, PANEL, fields)
    PanelPage(page).sees("on this machine")
    page.wait_for_selector(".jp-OutputArea .widget-vbox:not(.e2b):not(.e2b *) input")
    ours: list[float] = []
    plain: list[float] = []
    while len(ours) < 5 or (len(ours) < 20 and min(ours) >= 300):  # as soon as the machine is calm for that long
        ours.append(page.evaluate(_MEASURE_SHOWING, [1, ".e2b-tabs"]))
        plain.append(page.evaluate(_MEASURE_SHOWING, [2, ".widget-vbox"]))
    page.close()
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


def test_ten_thousand_lines_leave_the_page_free(lab: PanelPage) -> None:
    """While ten thousand lines stream a button still answers within 200 ms, and the page keeps but the last of them."""
    page = lab.page
    other = PanelPage(page, 1)
    other.turn_to("Sandbox")
    before = page.evaluate("performance.memory.usedJSHeapSize")
    script = "import time; [(print('line', n, 'x' * 60, flush=True), time.sleep(0.0005)) for n in range(10000)]"
    lab.turn_to("Run").run(f'python3 -c "{script}" && echo the end')
    lab.output("line 1")
    times: list[float] = []
    while not lab.root.locator(".e2b-well:visible", has_text="the end").count() and len(times) < 20:
        times.append(_answer_time(other))
    lab.output("the end")
    assert "line 9999" in lab.root.locator(".e2b-well:visible").inner_text()
    length = page.evaluate("el => el.textContent.length", lab.root.locator(".e2b-well:visible").element_handle())
    grown = page.evaluate("performance.memory.usedJSHeapSize") - before
    print("answered after", [round(one) for one in times], "ms; the page grew by", grown // 1_000_000, "MB")
    assert times
    assert sorted(times)[len(times) // 4] < 200  # the calmest quarter: other programs run on this machine too
    assert length < 50_000
    assert grown < 100_000_000


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


def test_a_long_directory_pages_smoothly(lab: PanelPage) -> None:
    """Five thousand entries are shown sixty at a time, and a page is turned in a moment."""
    lab.turn_to("Run").run("mkdir -p many && cd many && seq -f %05.0f 5000 | xargs touch; echo made")
    lab.output("made")
    field = lab.turn_to("Files").root.get_by_label("Directory").locator("visible=true")
    field.fill("many")
    field.press("Enter")
    lab.sees("1 to 60 of 5,000")
    began = time.perf_counter()
    for page in range(1, 11):
        lab.press("Next")
        lab.sees(f"{page * 60 + 1:,} to {page * 60 + 60:,} of 5,000")
    print(f"a page took {(time.perf_counter() - began) / 10 * 1000:.0f} ms")
    assert (time.perf_counter() - began) / 10 < 2
    assert lab.root.locator(".e2b-row:visible").count() == 60


def test_a_panel_works_while_a_cell_runs(browser: Browser, jupyter: Jupyter) -> None:
    """Output streams into the panel while a cell keeps the kernel busy, and never into that cell."""
    command = "for i in 1 2 3; do echo beat $i; sleep 1; done"
    busy = f"panel.run.command.value = {command!r}\npanel.run.run()\nimport time; time.sleep(6)"
    page = open_notebook(browser, jupyter, "lab", "busy.ipynb", LOAD, "panel = %e2b panel\npanel", busy)
    panel = PanelPage(page)
    panel.output("beat 3")
    assert page.locator('.jp-Notebook-ExecutionIndicator[data-status="busy"]').count() == 1
    assert page.locator(".jp-OutputArea-child pre", has_text="beat").count() == 1
    page.close()


def test_a_narrow_page_is_usable(browser: Browser, jupyter: Jupyter) -> None:
    """On 400 px nothing sticks out, and a command runs."""
    page = open_notebook(browser, jupyter, "notebook", "narrow.ipynb", LOAD, PANEL, width=400)
    panel = PanelPage(page)
    panel.run("echo narrow")
    panel.output("narrow")
    for tab in ("Files", "History", "Server", "Sandbox", "Settings", "Run"):
        panel.turn_to(tab)
        page.wait_for_timeout(700)
        over = page.evaluate("el => el.scrollWidth - el.clientWidth", panel.root.element_handle())
        assert over <= 1, tab
    page.close()
