"""What the tests of the server extension share: ways to ask a real Jupyter server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

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
