"""A real JupyterLab and Notebook 7, on a real kernel and the embedded server, in a real Chromium."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from e2b_magic.embedded import runtime

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--enable-precise-memory-info",
)
TOKEN = "a-token-of-the-tests"
SETTINGS: dict[str, dict[str, Any]] = {
    # Widget state is saved, so that the tests see what a notebook would keep.
    "@jupyter-widgets/jupyterlab-manager/plugin": {"saveState": True},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what is here, and skips it where there is no Chromium."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.sandbox)
            item.add_marker(pytest.mark.timeout(300))
            item.add_marker(pytest.mark.skipif(chromium() is None, reason="there is no chromium on the PATH"))
            item.add_marker(pytest.mark.skipif(find_spec("playwright") is None, reason="there is no playwright"))


def chromium() -> str | None:
    """Gives the browser's path."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass(frozen=True)
class Jupyter:
    """A server that serves JupyterLab and Notebook 7.

    Attributes:
        url: Where it is.
        root: The directory of its notebooks.
    """

    url: str
    root: Path

    def address(self, frontend: str, notebook: str) -> str:
        """Gives where a notebook is shown in a front end, `lab` or `notebook`."""
        # A workspace of its own: another page's would be what a reload brings back.
        workspace = notebook.removesuffix(".ipynb")
        path = f"lab/workspaces/{workspace}/tree" if frontend == "lab" else "notebooks"
        return f"{self.url}/{path}/{notebook}?token={TOKEN}"

    def write(self, name: str, *cells: str) -> None:
        """Writes a notebook of code cells."""
        code: list[dict[str, Any]] = [
            {
                "cell_type": "code",
                "id": f"c{number}",
                "source": cell,
                "metadata": {},
                "outputs": [],
                "execution_count": None,
            }
            for number, cell in enumerate(cells)
        ]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = {"cells": code, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        (self.root / name).write_text(json.dumps(notebook))

    def kernels(self) -> list[str]:
        """Gives the ids of the kernels that run."""
        return [kernel["id"] for kernel in json.loads(self.ask("GET", "/api/kernels"))]

    def ask(self, method: str, path: str) -> bytes:
        """Gives a route's answer."""
        request = urllib.request.Request(
            f"{self.url}{path}", method=method, headers={"Authorization": f"token {TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            body: bytes = answer.read()
        return body


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """Gives a Jupyter server with directories, settings and an embedded server of its own."""
    yield from serve(tmp_path_factory.mktemp("jupyter"))


def serve(base: Path, *options: str) -> Iterator[Jupyter]:
    """Serves until it is closed, with more options if wanted."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("E2B_")}
    for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
        environment[f"JUPYTER_{name}"] = str(base / name.lower())
    settings = base / "settings"
    for plugin, values in SETTINGS.items():
        (settings / plugin).parent.mkdir(parents=True, exist_ok=True)
        (settings / f"{plugin}.jupyterlab-settings").write_text(json.dumps(values))
    environment |= {
        "E2B_MAGIC_DIRECTORY": str(base / "e2b-magic"),
        "IPYTHONDIR": str(base / "ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(base / "workspaces"),
    }
    root = base / "notebooks"
    root.mkdir()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += [f"--ServerApp.root_dir={root}", f"--IdentityProvider.token={TOKEN}", "--port=0"]
    command += ["--JupyterNotebookApp.expose_app_in_browser=True", *options]
    with (base / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield Jupyter(_url(process, base / "runtime_dir"), root)
    finally:
        process.terminate()
        process.wait(30)
        runtime.stop(base / "e2b-magic" / "embedded")


def _url(process: subprocess.Popen[bytes], directory: Path) -> str:
    """Waits for the server and gives its address."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        for path in directory.glob("jpserver-*.json"):
            url = str(json.loads(path.read_text())["url"]).rstrip("/").replace("localhost", "127.0.0.1")
            try:
                urllib.request.urlopen(f"{url}/api?token={TOKEN}", timeout=5).close()
            except urllib.error.URLError:
                continue
            return url
        time.sleep(0.1)
    raise AssertionError("the Jupyter server did not start")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Gives a Chromium; for a module, since its driver keeps an event loop that asynchronous tests would meet."""
    from playwright.sync_api import sync_playwright  # here, since where there is none the tests are skipped

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        yield browser
        browser.close()
