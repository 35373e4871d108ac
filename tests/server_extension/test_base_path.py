"""Dev servers that are told at which path browsers will see them: asked by it, and at it after Jupyter's restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from .conftest import run

pytestmark = pytest.mark.sandbox

ROUTED = "c.E2BMagicApp.preview_route = 'always'\n"
# Lives below BASE_PATH when it has one, as Vite does: moves there from the root, and knows no other path.
BASED = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

BASE = os.environ.get("BASE_PATH", "/") if os.environ["FOLLOWS"] == "yes" else "/"
POSTED = []

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        moves = self.path == "/" != BASE
        self.send_response(302 if moves else 200 if self.path in (BASE, BASE + "deeper") else 404)
        self.send_header("Location", BASE) if moves else None
        self.end_headers()
        self.wfile.write(f"{self.path} of {os.environ.get('BASE_PATH')}".encode())

    def do_POST(self):
        POSTED.append(self.path)
        self.send_response(303)
        self.send_header("Location", os.environ["BASE_PATH"] + "done")
        self.end_headers()
        self.wfile.write(str(len(POSTED)).encode())

HTTPServer(("127.0.0.1", int(os.environ.get("PORT", 8200))), Handler).serve_forever()
"""
START = {"type": "start_dev_server", "project_id": "default", "command": "exec python3 based.py", "port": 8200}
READY = "until curl -s --noproxy '*' http://127.0.0.1:{port}/; do sleep 0.1; done"


class Browser:
    """Who looks at previews, by Jupyter's own token, and what a kernel of theirs asks for.

    Args:
        server: The Jupyter server.
        client: What asks it.
    """

    def __init__(self, server: Any, client: httpx.Client) -> None:
        self._root = server.url.removesuffix("/base/")
        self._client = client

    def ask(self, **payload: Any) -> dict[str, Any]:
        """Gives what a request to the worker is answered with."""
        answer = self._client.post("e2b-magic/worker", json={"project_id": "default", **payload}).json()
        assert answer["success"], answer
        data: dict[str, Any] = answer["data"]
        return data

    def start(self, **envs: str) -> str:
        """Starts the server anew, and gives its job's id."""
        return str(self.ask(**START, envs=envs)["id"])

    def sent_to(self, port: int) -> str:
        """Gives the path that a browser is sent on to from a port's preview."""
        sent = self._client.get(f"e2b-magic/preview/default/{port}/", headers={"Sec-Fetch-Dest": "iframe"})
        return str(sent.headers["Location"])

    def get(self, path: str) -> httpx.Response:
        """Gives what is at a path of the server's."""
        return self._client.get(f"{self._root}{path}")

    def post(self, path: str) -> httpx.Response:
        """Gives the answer to a POST at a path of the server's."""
        return self._client.post(f"{self._root}{path}")


@contextmanager
def _looking(server: Any) -> Iterator[Browser]:
    headers = {"Authorization": f"token {server.token}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60, trust_env=False) as client:
        browser = Browser(server, client)
        browser.ask(type="write_file", path="based.py", content=BASED)
        yield browser


def test_a_server_may_live_at_the_path_that_it_is_told(start_jupyter: Callable[..., Any]) -> None:
    """Told the preview's path, one that lives there is asked by its whole path, any other by what is below.

    After Jupyter's restart it is found at that path again; what no server of Jupyter's has given out is no path.
    """
    server = start_jupyter(ROUTED)
    with _looking(server) as browser:
        base = browser.sent_to(8200)
        for follows in ("no", "yes", "no"):
            browser.start(FOLLOWS=follows)
            root = base if follows == "yes" else "/"
            # A page that is looked at again, before the root was asked for where a server lives that lives there.
            assert follows == "yes" or browser.get(f"{base}deeper").text == f"/deeper of {base}"
            assert browser.get(base).text == f"{root} of {base}"
            assert browser.get(f"{base}deeper").text == f"{root}deeper of {base}"
            assert browser.get("/base/e2b-magic/preview/default/8200/deeper").text == f"{root}deeper of {base}"
        # What has an effect is not sent twice to find out where a server lives, though its answer leads below the path.
        assert [browser.post(f"{base}items").text for _ in range(2)] == ["1", "2"]
        assert browser.get(base).text == f"/ of {base}"
        # Another server in its place, of which nobody has told: found again where it is, from its root on.
        job = browser.start(FOLLOWS="yes")
        assert browser.get(base).text == f"{base} of {base}"
        browser.ask(type="stop_job", job=job)
        job = browser.ask(type="start_job", command="FOLLOWS=no exec python3 based.py")["id"]
        browser.ask(**run(READY.format(port=8200), timeout=30))
        assert browser.get(base).text == "/ of None"
        browser.ask(type="stop_job", job=job)
        browser.start(FOLLOWS="yes")
    with _looking(start_jupyter(ROUTED, again=server)) as browser:
        # Nobody has looked yet whom Jupyter has let in.
        assert browser.get(base).status_code == 403
        assert browser.sent_to(8200) == base
        assert browser.get(base).text == f"{base} of {base}"
        assert browser.get(f"{base}deeper").text == f"{base}deeper of {base}"
        # A server that claims a path of its own making is sent to another one.
        forged = f"{base[:-2]}{'B' if base[-2] == 'A' else 'A'}/"
        envs = {"FOLLOWS": "yes", "PORT": "8201", "BASE_PATH": forged}
        browser.ask(type="start_job", command="exec python3 based.py", envs=envs)
        browser.ask(**run(READY.format(port=8201), timeout=30))
        assert browser.sent_to(8201) not in (base, forged)
        assert browser.get(forged).status_code == 403
