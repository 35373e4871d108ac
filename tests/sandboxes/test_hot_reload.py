"""A Vite project in a real browser, at its sandbox's own address: an edit appears without a reload."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.config import Configuration
from e2b_magic.embedded import runtime
from tests.registries import npm_registry

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]


@pytest.fixture
def client(configuration: Configuration) -> Iterator[Client]:
    """Gives a client on an embedded server of the test's own."""
    client = Client(configuration)
    yield client
    client.close()
    runtime.stop(configuration.directory / "embedded")


@pytest.fixture
def browser() -> Iterator[Any]:
    """Gives a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


def test_an_edit_appears_by_hot_reload(client: Client, browser: Any) -> None:
    """The page is shown in a frame, its button counts, and a file written to the sandbox changes it in place."""
    reached = client.execute_command(f"command -v npm && curl -sfo /dev/null --max-time 20 {npm_registry()}react")
    if not reached.ok:
        pytest.skip("no npm under /usr, or its registry does not answer from a sandbox")
    client.setup_project("web", template="vite-react", timeout=400)
    url = client.start_dev_server(ready_within=120).url
    page = browser.new_page()
    with page.expect_console_message(lambda message: "[vite] connected" in message.text, timeout=60_000):
        page.set_content(f'<iframe src="{url}" sandbox="allow-scripts allow-same-origin"></iframe>')
    frame = page.frame_locator("iframe")
    frame.get_by_text("It works").wait_for(timeout=60_000)
    frame.get_by_role("button").click()
    frame.get_by_text("Clicked 1 times").wait_for()
    source = client.read_text("web/src/App.jsx")
    client.write_file("web/src/App.jsx", source.replace("It works", "It changed"))
    frame.get_by_text("It changed").wait_for(timeout=60_000)
    # A reload would have lost it.
    assert frame.get_by_text("Clicked 1 times").is_visible()
