"""E2B's JavaScript SDK, unmodified, against the embedded server."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from e2b_magic.embedded.endpoint import Endpoint

pytestmark = [pytest.mark.network, pytest.mark.slow]

_SCRIPT = Path(__file__).with_name("javascript_sdk.mjs")
_OLDEST_NODE = 20


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gives a copy of the script in a directory in which the newest SDK is installed, once for all of its tests."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("there is no node, or no npm")
    version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout
    if int(version.strip().lstrip("v").partition(".")[0]) < _OLDEST_NODE:
        pytest.skip(f"E2B's SDK needs node {_OLDEST_NODE}, and this is {version.strip()}")
    directory = tmp_path_factory.mktemp("javascript")
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1", "e2b@2"]
    installed = subprocess.run(install, check=False, cwd=directory, capture_output=True, text=True, timeout=100)
    if installed.returncode != 0:
        pytest.skip(f"npm's registry did not give the SDK: {installed.stderr.strip()[-300:]}")
    shutil.copy(_SCRIPT, directory)
    return directory


@pytest.mark.parametrize("subject", ["commands", "files", "terminals", "watching", "lifetime"])
def test_the_javascript_sdk(subject: str, sdk: Path, server: Endpoint) -> None:
    """A subject of the SDK behaves as on E2B's own servers: the script's assertions hold."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(sdk),
        "E2B_API_KEY": server.api_key,
        "E2B_API_URL": server.url,
        "E2B_SANDBOX_URL": server.url,
        "NO_PROXY": "127.0.0.1,localhost",
    }
    command = ["node", _SCRIPT.name, subject]
    ran = subprocess.run(command, check=False, cwd=sdk, env=environment, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr
