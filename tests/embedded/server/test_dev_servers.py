"""The servers that people run in a sandbox and look at from outside: Vite with its WebSocket, Jupyter with a kernel."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import websocket
from e2b import Sandbox

from e2b_magic.embedded.endpoint import Endpoint
from tests.registries import npm_registry, python_index

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


class _Frames:
    """What comes through a WebSocket; a time-out does not end it, as it would a generator."""

    def __init__(self, connection: websocket.WebSocket) -> None:
        self._connection = connection

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(self._connection.recv())
        return frame


def _written_until_told(sandbox: Sandbox, connection: websocket.WebSocket, frames: _Frames) -> str:
    """Changes the file until Vite tells of it: it serves before it watches, as is seen on a busy machine."""
    connection.settimeout(5)
    for number in range(12):
        sandbox.files.write("app/main.js", f"console.log('changed {number} times')")
        with contextlib.suppress(websocket.WebSocketTimeoutException):
            return str(next(frame["type"] for frame in frames if frame["type"] != "ping"))
    return "nothing"


def test_vite(server: Endpoint, options: dict[str, Any], need: Callable[..., None]) -> None:
    """A page of Vite's is served and transformed, and told through its WebSocket when a file of it was changed."""
    need(f"{npm_registry()}vite")
    with Sandbox.create(**options) as sandbox:
        sandbox.commands.run("mkdir app && cd app && npm install --no-audit --no-fund vite", timeout=200)
        sandbox.files.write("app/index.html", "<!doctype html><script type=module src=/main.js></script>")
        sandbox.files.write("app/main.js", "console.log(1)")
        sandbox.commands.run("cd app && npx vite --port 5173", background=True, timeout=0)
        host = f"5173-{sandbox.sandbox_id}.localhost:{server.port}"
        with _page(server, host) as client:
            assert "/@vite/client" in _until_it_answers(client, "/").text
            assert client.get("/main.js").text.startswith("console.log(1)")
            token = re.search(r'wsToken = "([^"]+)"', client.get("/@vite/client").text)
        assert token is not None
        url = f"ws://127.0.0.1:{server.port}/?token={token[1]}"
        connection = websocket.create_connection(
            url, host=host, origin=f"http://{host}", subprotocols=["vite-hmr"], timeout=_PATIENCE
        )
        with contextlib.closing(connection):
            frames = _Frames(connection)
            assert next(frames) == {"type": "connected"}
            assert _written_until_told(sandbox, connection, frames) == "full-reload"


def test_jupyter(server: Endpoint, options: dict[str, Any], need: Callable[..., None]) -> None:
    """A Jupyter server takes the masked host for its own, and runs code in a kernel through its WebSocket."""
    need(f"{python_index()}jupyter-server/")
    with Sandbox.create(**options, network={"mask_request_host": "localhost:${PORT}"}) as sandbox:
        sandbox.commands.run("python3 -m venv v && v/bin/pip install -q jupyter-server ipykernel", timeout=300)
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
        told = next(frame["content"] for frame in _Frames(connection) if frame["msg_type"] == "stream")
        assert told["text"] == "42\n"
        connection.close()
