"""What the tests of the server extension share: ways to ask a real Jupyter server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from jupyter_client.blocking.client import BlockingKernelClient

Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def server(start_jupyter: Callable[..., Any]) -> Any:
    """Gives a Jupyter server with the extension as it is installed, over the embedded E2B server."""
    return start_jupyter()


@pytest.fixture
def http(server: Any) -> Iterator[httpx.Client]:
    """Gives an HTTP client that shows Jupyter's own token."""
    headers = {"Authorization": f"token {server.token}"}
    with httpx.Client(base_url=f"{server.url}e2b-magic/", headers=headers, timeout=60, trust_env=False) as client:
        yield client


def run(command: str, **more: Any) -> dict[str, Any]:
    """Gives the request to run a command."""
    return {"type": "execute_command", "project_id": "default", "command": command, **more}


def told(response: httpx.Response) -> list[dict[str, Any]]:
    """Gives the events of a stream."""
    return [json.loads(line) for line in response.iter_lines()]


def _shown(content: dict[str, Any]) -> str:
    return content.get("text") or "\n".join(content.get("traceback", [])) or str(content.get("data", ""))


class Kernel:
    """A kernel that a Jupyter server has started.

    Args:
        server: The server.
        identity: The kernel's id.
    """

    def __init__(self, server: Any, identity: str) -> None:
        self.identity = identity
        self._client: Any = BlockingKernelClient(
            connection_file=str(server.folder / "runtime" / f"kernel-{identity}.json")
        )
        self._client.load_connection_file()
        self._client.hb_channel.time_to_dead = 60.0  # on a busy machine a late heartbeat is no death
        self._client.start_channels()
        self.wait()
        self.messages: list[dict[str, Any]] = []

    def execute(self, code: str) -> str:
        """Runs a cell and gives what it prints, or shows."""
        told: list[dict[str, Any]] = []

        def take(message: dict[str, Any]) -> None:
            told.append({**message["content"], "type": message["msg_type"]})

        self._client.execute_interactive(code, timeout=60, output_hook=take)
        self.messages += told
        return "".join(map(_shown, told))

    def wait(self) -> None:
        """Waits until it answers."""
        self._client.wait_for_ready(timeout=60)

    def close(self) -> None:
        """Leaves the kernel."""
        self._client.stop_channels()


@contextmanager
def started_kernel(server: Any) -> Iterator[Kernel]:
    """Starts a kernel through a server's API, for as long as the block lasts."""
    headers = {"Authorization": f"token {server.token}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60, trust_env=False) as client:
        identity = client.post("api/kernels", json={}).json()["id"]
        kernel = Kernel(server, identity)
        yield kernel
        kernel.close()
        assert client.delete(f"api/kernels/{identity}").status_code == 204
