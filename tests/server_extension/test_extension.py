"""The extension as it is installed: enabled by that, used by a notebook unchanged, and missed when its server ends."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2b_magic.client import Client
from e2b_magic.exceptions import OutcomeUnknownError, WorkerError

from .conftest import started_kernel

# `jupyter server extension list`, and what that has imported.
LIST = """
import sys
from jupyter_server.extension.serverextension import ServerExtensionApp
ServerExtensionApp.launch_instance(["list"])
print("loaded:", *(name for name in sys.modules if name == "e2b_magic.server_extension.app"), end="")
print(",", "with" if "e2b" in sys.modules else "without", "e2b")
"""


def test_an_installation_enables_it() -> None:
    """Jupyter lists the extension as enabled and valid, by the file that the installation has put into place."""
    listed = subprocess.run([sys.executable, "-c", LIST], check=True, capture_output=True, text=True)
    lines = [line.strip() for line in (listed.stdout + listed.stderr).splitlines() if "e2b_magic" in line]
    assert any("enabled" in line for line in lines)
    assert any("OK" in line for line in lines)
    file = Path(sysconfig.get_path("data")) / "etc/jupyter/jupyter_server_config.d/e2b_magic.json"
    assert json.loads(file.read_text()) == {"ServerApp": {"jpserver_extensions": {"e2b_magic": True}}}
    # To be validated it was loaded, for which no server waits until the SDK is imported.
    assert "loaded: e2b_magic.server_extension.app, without e2b" in listed.stdout


@pytest.mark.sandbox
def test_the_tour_passes_behind_a_server(start_jupyter: Callable[..., Any]) -> None:
    """The tour's notebook runs unchanged in a kernel of the server's, and so does a command after a restart of it."""
    server = start_jupyter()
    notebook = json.loads((Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 5
    with started_kernel(server) as kernel:
        for cell in cells:
            before = len(kernel.messages)
            kernel.execute("".join(cell["source"]))
            failed = [one["evalue"] for one in kernel.messages[before:] if one["type"] == "error"]
            assert bool(failed) == ("raises-exception" in cell["metadata"].get("tags", [])), (cell["source"], failed)
        assert server.log.count('"type": "execute_command"') > 3
        url = f"{server.url}api/kernels/{kernel.identity}/restart"
        httpx.post(
            url, headers={"Authorization": f"token {server.token}"}, timeout=60, trust_env=False
        ).raise_for_status()
        kernel.wait()
        assert "again-42" in kernel.execute("%load_ext e2b_magic\n%e2b run --no-cache echo again-$((6 * 7))")


@pytest.mark.sandbox
def test_a_server_that_dies_leaves_no_doubt_unsaid(start_jupyter: Callable[..., Any], tmp_path: Path) -> None:
    """Killed under a command, its outcome is unknown and the output so far is kept; afterwards nobody answers."""
    server = start_jupyter()
    client = Client(server.configuration(tmp_path))

    def kill(event: object) -> None:
        if getattr(event, "text", "") == "begun\n":
            server.process.kill()

    with pytest.raises(OutcomeUnknownError) as caught:
        client.execute_command("echo begun; sleep 60", on_event=kill)
    assert caught.value.result is not None
    assert caught.value.result.stdout == "begun\n"
    server.process.wait()
    with pytest.raises(WorkerError, match="does not answer"):
        client.execute_command("true")
    client.close()


@pytest.mark.sandbox
def test_a_kernels_token_ends_with_its_server(start_jupyter: Callable[..., Any], tmp_path: Path) -> None:
    """A token of an earlier server's is refused by the next one, with what is to be done."""
    server = start_jupyter()
    stale = server.configuration(tmp_path, E2B_MAGIC_WORKER_TOKEN="e2bw_" + "x" * 43)
    client = Client(stale)
    with pytest.raises(WorkerError, match="refused the token: it changes when the server restarts, so restart"):
        client.execute_command("true")
    client.close()
