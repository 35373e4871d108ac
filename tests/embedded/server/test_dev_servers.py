"""A server that people run in a sandbox and look at from outside: Jupyter with a kernel, through its WebSocket."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import websocket
from e2b import Sandbox

from e2b_magic.embedded.endpoint import Endpoint
from tests.registries import python_index

pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(400)]

_PATIENCE = 60.0
_EXECUTE = {
    "channel": "shell",
    "header": {"msg_id": "1", "msg_type": "execute_request", "session": "s", "username": "u", "version": "5.3"},
    "parent_header": {},
    "metadata": {},
    "content": {"code": "print(6 * 7)", "silent": False, "user_expressions": {}, "allow_stdin": False},
}


def _page(server: Endpoint, host: str, **headers: str) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"Host": host, **headers}, timeout=_PATIENCE, trust_env=False)


def _until_it_answers(client: httpx.Client, path: str) -> httpx.Response:
    deadline = time.monotonic() + _PATIENCE
    while (answer := client.get(path)).status_code == 502 and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer


def _frames(connection: websocket.WebSocket) -> Iterator[dict[str, Any]]:
    while True:
        yield json.loads(connection.recv())


def test_jupyter(server: Endpoint, options: dict[str, Any], need: Callable[..., None]) -> None:
    """A Jupyter server takes the masked host for its own, and runs code in a kernel through its WebSocket."""
    need(f"{python_index()}jupyter-server/")
    with Sandbox.create(**options, network={"mask_request_host": "localhost:${PORT}"}) as sandbox:
        sandbox.commands.run(
            "python3 -m venv v && v/bin/pip install -q --no-compile jupyter-server ipykernel", timeout=300
        )
        sandbox.commands.run("v/bin/jupyter server --ServerApp.token=secret --port 8888", background=True, timeout=0)
        host = f"8888-{sandbox.sandbox_id}.localhost:{server.port}"
        with _page(server, host, Authorization="token secret") as client:
            assert _until_it_answers(client, "/api/status").status_code == 200
            kernel = client.post("/api/kernels").json()["id"]
        url = f"ws://127.0.0.1:{server.port}/api/kernels/{kernel}/channels"
        connection = websocket.create_connection(
            url, host=host, header=["Authorization: token secret"], suppress_origin=True, timeout=_PATIENCE
        )
        connection.send(json.dumps(_EXECUTE))
        told = next(frame["content"] for frame in _frames(connection) if frame["msg_type"] == "stream")
        assert told["text"] == "42\n"
        connection.close()
