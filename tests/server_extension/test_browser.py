"""The hostile page in a real browser, by way of a real Jupyter server: what it tries, and what it gets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import run

SERVER = Path(__file__).parent / "hostile_server.py"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]


@pytest.fixture(scope="module")
def server(start_jupyter: Callable[..., Any]) -> Any:
    """Gives a Jupyter server with the hostile server in its owner's sandbox."""
    server = start_jupyter()
    write = {"type": "write_file", "project_id": "default", "path": "server.py", "content": SERVER.read_text()}
    ready = "until curl -s --noproxy '*' http://127.0.0.1:8000/x; do sleep 0.1; done"
    for payload in (write, run(f"setsid -f python3 server.py >log 2>&1; {ready}")):
        headers = {"Authorization": f"token {server.token}"}
        url = f"{server.url}e2b-magic/worker"
        answer = httpx.post(url, json=payload, headers=headers, timeout=60, trust_env=False)
        assert answer.json()["success"], answer.text
    return server


@pytest.fixture
def browser() -> Iterator[Any]:
    """Gives a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


# What an innocent page at Jupyter's origin gets when it tries: else the refusals below would prove nothing.
INNOCENT = """async () => {
  const base = location.href.replace(/base\\/.*/, "base/");
  const status = async (path) => (await fetch(base + path)).status;
  return [await status("api/contents"), await status("e2b-magic/health"), document.cookie.length > 0];
}"""
SHOW = """(address) => {
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-scripts allow-forms allow-modals allow-popups allow-downloads";
  frame.src = address;
  document.body.append(frame);
}"""


def _report(frame: Any) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(frame.locator("#report").text_content(timeout=30_000))
    return report


def _check(report: dict[str, Any]) -> None:
    refused = (*("cookie", "storage", "contents", "with cookies", "worker", "service worker", "socket to jupyter"),)
    assert report["origin"] == "null"
    for name in refused:
        assert report[name].startswith("refused: "), (name, report[name])
    assert report["kernels"] in ("0", "refused: TypeError")  # sent without a cookie; its answer cannot be read
    assert report["popup"] in ("none", "refused: TypeError")
    # What is its own works: styles, modules, data, posts with a preflight, and WebSockets.
    assert report["styled"] is report["module"] is True
    assert (report["own data"], report["own post"], report["own socket"]) == ("42", "POST", "hello")


def test_the_page_in_a_frame_reaches_nothing_of_jupyters(server: Any, browser: Any) -> None:
    """Shown in a frame on a Jupyter page, as a notebook shows it, it has neither cookie, nor API, nor parent."""
    page = browser.new_page()
    page.goto(f"{server.url}login?token={server.token}")
    before = page.url
    assert page.evaluate(INNOCENT) == [200, 200, True]
    address = f"{server.url}e2b-magic/preview/default/8000/"
    page.evaluate(
        "(url) => { const f = document.createElement('iframe'); f.src = url; document.body.append(f); }", address
    )
    report = _report(page.frame_locator("iframe"))
    _check(report)
    assert report["parent"].startswith("refused: ")
    assert report["top"].startswith("refused: ")
    assert page.url == before
    kernels = httpx.get(f"{server.url}api/kernels", headers={"Authorization": f"token {server.token}"}, trust_env=False)
    assert kernels.json() == []


def test_the_page_in_a_tab_of_its_own_reaches_nothing_either(server: Any, browser: Any) -> None:
    """Opened by its address it is still sandboxed: the policy comes with the answer, not with the frame."""
    context = browser.new_context()
    context.new_page().goto(f"{server.url}login?token={server.token}")
    opened = context.new_page()
    opened.goto(f"{server.url}e2b-magic/preview/default/8000/")
    assert "/e2b-magic/preview-" in opened.url
    _check(_report(opened))
