"""What all tests share: no key in the environment, a directory of their own, and sandboxes that may not be skipped.

Beside that, real Jupyter servers: `start_jupyter` starts as many as a module wants.
"""

from __future__ import annotations

import gc
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from e2b_magic.config import Configuration, from_environment
from e2b_magic.embedded.settings import SETTINGS as LIMITS

SETTINGS = (
    "E2B_API_KEY",
    "E2B_API_URL",
    "E2B_SANDBOX_URL",
    "E2B_DOMAIN",
    "E2B_DEBUG",
    "E2B_MAGIC_DIRECTORY",
    "E2B_MAGIC_TEMPLATES",
    "E2B_MAGIC_USER",
    "E2B_MAGIC_WORKER_URL",
    "E2B_MAGIC_WORKER_TOKEN",
    "E2B_MAGIC_WORKER_BACKEND",
    "E2B_MAGIC_WORKER_ALLOW_HTTP",
)

# A busy machine is no finding: neither a slow example nor a slow strategy says anything of the code under test.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


_HOME = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Lets Ctrl-C and a hang-up be felt where they were turned off, and leads what has no directory astray."""
    config.stash[_HOME] = Path(tempfile.mkdtemp(prefix="e2b-magic-home-"))
    os.environ["XDG_DATA_HOME"] = str(config.stash[_HOME])
    # By a shell that starts a command in the background, and by nohup: programs that are tried inherit it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_finish() -> None:
    """Leaves what was imported out of the collections of garbage: every IPython shell that ends begins one."""
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run when a test wrote where a user's own store and sandboxes would be."""
    home = session.config.stash[_HOME]
    if sys.platform == "linux" and (home / "e2b-magic").exists():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        written = sorted(str(path.relative_to(home)) for path in (home / "e2b-magic").rglob("*"))
        print(f"\na test had no E2B_MAGIC_DIRECTORY of its own, and wrote {', '.join(written[:5])}")
    shutil.rmtree(home, ignore_errors=True)


def _wants_root(item: pytest.Item) -> bool:
    """Says whether a test tries what this user cannot do, not being root."""
    return item.get_closest_marker("root") is not None and os.geteuid() != 0


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips for an ordinary user what root alone can do, with the reason that the mark gives."""
    if _wants_root(item):
        (mark,) = item.iter_markers("root")
        pytest.skip(f"only as root: {mark.args[0]}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Turns a skipped test of sandboxes or browsers into a failure where they are required, as in the gate."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    needed = {"sandbox", "browser"} & set(item.keywords)
    if report.skipped and needed and not _wants_root(item) and os.environ.get("E2B_MAGIC_REQUIRE_SANDBOX"):
        report.outcome = "failed"
        report.longrepr = f"E2B_MAGIC_REQUIRE_SANDBOX is set and this was skipped: {report.longrepr}"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SETTINGS, *(setting.variable for setting in LIMITS)):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """Gives a configuration for the embedded server whose files lie in a directory of the test's own."""
    return from_environment({"E2B_MAGIC_DIRECTORY": str(tmp_path / "e2b-magic")})


@dataclass(frozen=True)
class Jupyter:
    """A Jupyter server in a process of its own.

    Attributes:
        url: Its base URL, with a slash at the end.
        token: Jupyter's own token.
        folder: Where its files lie.
        process: Its process.
    """

    url: str
    token: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "server.log").read_text(errors="replace")

    @property
    def directory(self) -> Path:
        """The extension's `E2B_MAGIC_DIRECTORY`."""
        return self.folder / "e2b-magic"

    def configuration(self, directory: Path, **more: str) -> Configuration:
        """Gives the configuration of a client whose worker is this server, by Jupyter's own token."""
        worker = {"E2B_MAGIC_WORKER_URL": self.url, "E2B_MAGIC_WORKER_TOKEN": self.token}
        return from_environment({"E2B_MAGIC_DIRECTORY": str(directory), **worker, **more})


StartJupyter = Callable[..., Jupyter]


@pytest.fixture(scope="module")
def start_jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartJupyter]:
    """Starts Jupyter servers with the extension; the module's end is theirs, and their sandboxes'."""
    started: list[Jupyter] = []

    def start(config: str = "", environment: Mapping[str, str] | None = None, again: Jupyter | None = None) -> Jupyter:
        """Starts a server; `again` the one that was there before, by its files, once that has ended."""
        if again is not None:
            again.process.terminate()
            again.process.wait(timeout=30)
        folder = tmp_path_factory.mktemp("jupyter") if again is None else again.folder
        started.append(_start_jupyter(folder, config, environment or {}))
        _wait_for(started[-1])
        return started[-1]

    yield start
    from e2b_magic.embedded import runtime

    for server in started:
        server.process.terminate()
    for server in started:
        server.process.wait(timeout=30)
        runtime.stop(server.directory / "embedded")


def _start_jupyter(folder: Path, config: str, environment: Mapping[str, str]) -> Jupyter:
    token = secrets.token_hex(16)
    (folder / "jupyter_server_config.py").write_text(
        "c = get_config()\n"
        f"c.IdentityProvider.token = {token!r}\n"
        "c.ServerApp.port = 0\n"
        "c.ServerApp.base_url = '/base/'\n"
        "c.ServerApp.open_browser = False\n"
        "c.ServerApp.allow_root = True\n"
        "c.ServerApp.allow_unauthenticated_access = False\n"
        f"c.ServerApp.root_dir = {str(folder)!r}\n" + config
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("E2B_", "JUPYTER_", "JPY_"))}
    places = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("DATA", "RUNTIME")}
    ours = {
        "JUPYTER_CONFIG_DIR": str(folder),
        "E2B_MAGIC_DIRECTORY": str(folder / "e2b-magic"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": str(folder),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter", "server", "--debug"],
            env={**kept, **places, **ours, **environment},
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    return Jupyter(_url_of(process, folder), token, folder, process)


def _url_of(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Waits until a server has chosen its port, and gives its address."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        for told in (folder / "runtime").glob("jpserver-*.json"):
            with suppress(ValueError):  # it is being written
                return f"http://127.0.0.1:{json.loads(told.read_text())['port']}/base/"
        time.sleep(0.05)
    process.kill()
    pytest.fail(f"the Jupyter server did not start:\n{(folder / 'server.log').read_text(errors='replace')}")


def _wait_for(server: Jupyter) -> None:
    request = urllib.request.Request(f"{server.url}api", headers={"Authorization": f"token {server.token}"})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            urllib.request.urlopen(request).close()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the Jupyter server did not start:\n{server.log}")
