"""Takes the pictures of docs/panels.md anew: `python -m tests.browser.screenshots`. Look at them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .conftest import FLAGS, chromium, serve
from .pages import LOAD, PANEL, PanelPage, execute, open_notebook

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from .conftest import Jupyter

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WIDTHS = {"": 860, "-narrow": 400}
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
PREPARE = (
    "mkdir -p src/shapes data && printf 'import math\\n\\n\\ndef area(radius: float) -> float:\\n    return math.pi * "
    "radius**2\\n' > src/shapes/circle.py && touch src/shapes/__init__.py README.md data/points.csv && "
    "echo '<h1>Shapes</h1>' > index.html && git init -q . 2>/dev/null; git --version"
)
TESTS = (
    "printf '\\033[1mtests/test_circle.py\\033[0m \\033[32m✓ area\\033[0m \\033[32m✓ perimeter\\033[0m\\n"
    "\\033[1mtests/test_square.py\\033[0m \\033[31m✗ area: expected 9, got 6\\033[0m\\n\\033[33m1 warning\\033[0m\\n'; "
    "sleep 0.1; echo 'square.py:4: side + side is no area' >&2; sleep 0.1; "
    "printf '\\033[31;1m1 failed\\033[0m, \\033[32m2 passed\\033[0m\\n'; exit 1"
)


def main() -> None:
    """Takes every picture: each tab, light and dark, wide and on 400 pixels."""
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(exist_ok=True)
    serving = serve(Path(tempfile.mkdtemp()))
    jupyter = next(serving)
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium(), args=list(FLAGS))
            for theme in THEMES:
                _take_all(browser, jupyter, theme)
            browser.close()
    finally:
        serving.close()  # type: ignore[attr-defined]  # a generator's


def _take_all(browser: Browser, jupyter: Jupyter, theme: str) -> None:
    page = open_notebook(browser, jupyter, "notebook", f"{theme}.ipynb", f"{LOAD}\n%e2b use {theme}", PANEL)
    panel = PanelPage(page)
    execute(page, "apputils:change-theme", {"theme": THEMES[theme]})

    def take(tab: str) -> None:
        page.mouse.move(5, 5)
        for suffix, width in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(700)
            panel.root.screenshot(path=IMAGES / f"panel-{tab}{suffix}-{theme}.png")
        page.set_viewport_size({"width": 1100, "height": 900})

    for command in (PREPARE, "python3 -c 'print(6 * 7)'", "ls -la src/shapes", TESTS):
        panel.run(command)
        panel.root.locator(".e2b-badge:visible:text-matches('exit')").first.wait_for()
        page.wait_for_timeout(400)
    panel.badge("exit 1")
    panel.root.get_by_label("Command", exact=True).fill("npm test")
    panel.root.get_by_label("Command", exact=True).blur()
    take("run")
    panel.turn_to("Files")
    for name in ("src", "shapes", "circle.py"):
        panel.row(name).click()
        page.wait_for_timeout(600)
    take("files")
    panel.turn_to("History")
    panel.row("6 * 7").click()
    take("history")
    panel.turn_to("Server").root.get_by_label("Template", exact=True).select_option("static")
    panel.press("Set up")
    panel.sees(": Start serves it")
    panel.press("Start")
    panel.sees("The server answers on port")
    with page.expect_popup() as opened:
        panel.root.locator('a[target="_blank"]:visible').click()
    opened.value.wait_for_load_state("networkidle")  # a page that is closed sooner is an error in the server's log
    opened.value.close()
    page.wait_for_timeout(1500)
    take("server")
    panel.turn_to("Sandbox").sees("ends in")
    panel.turn_to("Run").run("sleep 5; timeout 6 sh -c 'while :; do :; done'; sleep 3; true")
    panel.turn_to("Sandbox")
    page.wait_for_timeout(26_000)
    take("sandbox")
    panel.turn_to("Settings")
    take("settings")
    page.close()


if __name__ == "__main__":
    main()
