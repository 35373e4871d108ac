"""What the extension makes of a server's settings and environment, on servers in this process."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import pytest

from e2b_magic.config import from_environment
from e2b_magic.server_extension import app

from .conftest import KEY, InProcess

ROUTE = "/a%40b/e2b-magic/preview"
OPEN = {"ServerApp": {"allow_remote_access": True}}


@pytest.mark.parametrize(
    ("settings", "environment", "route"),
    [
        ({}, {}, None),
        (OPEN, {}, ROUTE),
        ({**OPEN, "E2BMagicApp": {"preview_route": "never"}}, {}, None),
        ({"E2BMagicApp": {"preview_route": "always"}}, {}, ROUTE),
        ({}, {"JUPYTERHUB_SERVICE_PREFIX": "/user/anna/"}, ROUTE),
    ],
    ids=["here", "remote", "never", "always", "hub"],
)
def test_a_preview_is_where_the_browser_is(server: InProcess, route: str | None) -> None:
    """On this machine a port is seen at the sandbox's own origin, from elsewhere through the server's route."""
    assert server.extension.configuration.preview_route == route


def _kernels_environment(server: InProcess) -> dict[str, str]:
    """Starts a kernel, and gives the environment that its process was given."""
    answer = server.ask("POST", "api/kernels", json.dumps({"name": "echo"}))
    assert answer.code == 201, answer.body
    process = server.app.kernel_manager.get_kernel(json.loads(answer.body)["id"]).provisioner.pid
    entries = Path(f"/proc/{process}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


@LINUX
@pytest.mark.parametrize(
    "environment",
    [{"E2B_API_URL": "http://127.0.0.1:1", "E2B_MAGIC_WORKER_URL": "http://other.example/"}],
    ids=["contradicting"],
)
def test_a_server_starts_whatever_is_set_for_it(
    capfd: pytest.CaptureFixture[str], server: InProcess, tmp_path: Path
) -> None:
    """Settings that contradict each other are said in the log, and kernels start, and find this server's worker."""
    assert not [name for name in os.environ if name.startswith("E2B_MAGIC_WORKER")]  # which its terminals would find
    assert "E2B_API_KEY is not set" in capfd.readouterr().err
    given = _kernels_environment(server)
    assert "E2B_API_URL" not in given
    assert str(server.extension.configuration.directory) == given["E2B_MAGIC_DIRECTORY"] == str(tmp_path / "e2b-magic")
    assert given["E2B_MAGIC_WORKER_URL"] == f"http://{server.app.ip}:{server.app.port}/a%40b/"
    assert given["E2B_MAGIC_WORKER_TOKEN"].startswith("e2bw_")


@pytest.mark.parametrize("environment", [{"E2B_MAGIC_DIRECTORY": "relative"}], ids=["relative"])
def test_a_server_starts_without_a_directory_for_it(capfd: pytest.CaptureFixture[str], server: InProcess) -> None:
    """A directory that can be none is said in the log, and sandboxes are where they are by default."""
    assert "E2B_MAGIC_DIRECTORY must be an absolute path" in capfd.readouterr().err
    assert server.extension.configuration.directory == from_environment({}).directory


@LINUX
@pytest.mark.parametrize(
    "settings", [{"E2BMagicApp": {"kernel_url": "http://jupyter.example/base/"}}], ids=["plain http"]
)
def test_a_kernel_that_cannot_reach_the_server_safely_gets_no_token(
    server: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """Over plain http to another address no token is given out: the log says so, and names the setting."""
    given = _kernels_environment(server)
    assert not [name for name in given if name.startswith("E2B_MAGIC_WORKER")]
    assert KEY not in given.values()
    assert "kernels are given no worker" in caplog.text
    assert "E2BMagicApp.kernel_url" in caplog.text


def test_a_client_that_could_not_be_made_is_made_later(server: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment without descriptors costs the previews of that moment, not all until the server's restart."""
    extension, made = server.extension, server.loop.run_until_complete

    def fail() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(app, "_new_preview_client", fail)
        with pytest.raises(OSError, match="Too many"):
            made(extension.preview_client())
    assert not made(extension.preview_client()).is_closed
