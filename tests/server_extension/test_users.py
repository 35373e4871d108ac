"""Two users of one server, told apart by Jupyter: neither meets anything of the other's, and each has limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from .conftest import run

pytestmark = pytest.mark.sandbox

IDENTITY = """
from jupyter_server.auth import IdentityProvider, User

class ByName(IdentityProvider):
    def get_user(self, handler):
        name = handler.request.headers.get("Authorization", "").removeprefix("token ")
        if name == self.token:
            name = "admin"
        if name not in ("anna", "ben", "admin"):
            return None
        handler._token_authenticated = True
        return User(name)
"""
CONFIG = """
import sys
sys.path.insert(0, c.ServerApp.root_dir)
c.ServerApp.identity_provider_class = "by_name.ByName"
c.E2BMagicApp.max_requests = 3
c.E2BMagicApp.max_sandboxes = 2
c.E2BMagicApp.max_seconds = 8
c.E2BMagicApp.max_request_bytes = 5000
"""


@pytest.fixture(scope="module")
def server(start_jupyter: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Gives a server that knows its users by name, with small limits."""
    folder = tmp_path_factory.mktemp("identity")
    (folder / "by_name.py").write_text(IDENTITY)
    return start_jupyter(CONFIG, {"PYTHONPATH": str(folder)})


def _post(server: Any, user: str, payload: dict[str, Any], route: str = "worker") -> httpx.Response:
    url = f"{server.url}e2b-magic/{route}"
    return httpx.post(url, json=payload, headers={"Authorization": f"token {user}"}, timeout=60, trust_env=False)


def _output(server: Any, user: str, command: str, **more: Any) -> str:
    text: str = _post(server, user, run(command, **more)).json()["data"]["stdout"]
    return text


def _status(server: Any, user: str, **more: Any) -> dict[str, Any]:
    answer = _post(server, user, {"type": "sandbox_status", "project_id": "default", **more}).json()
    data: dict[str, Any] = answer["data"]
    return data


def test_one_users_sandbox_is_not_anothers(server: Any) -> None:
    """The same project's name is another sandbox for another user, and knowing its id does not help."""
    _output(server, "anna", "echo hers > mark")
    hers = _status(server, "anna")["sandbox_id"]
    assert _output(server, "anna", "cat mark") == "hers\n"
    assert _status(server, "ben")["state"] == "none"
    assert _output(server, "ben", "ls; echo mine > mark", sandbox_id=hers) == ""
    assert _status(server, "ben")["sandbox_id"] != hers
    _post(server, "ben", {"type": "kill_sandbox", "project_id": "default", "sandbox_id": hers})
    assert _status(server, "anna")["sandbox_id"] == hers
    assert _output(server, "anna", "cat mark") == "hers\n"


def test_one_user_cannot_cancel_anothers_work(server: Any) -> None:
    """A request's id is its user's own."""
    url = f"{server.url}e2b-magic/worker/stream"
    told = {"Authorization": "token anna", "E2B-Magic-Request": "annas"}
    with (
        httpx.Client(timeout=60, trust_env=False) as client,
        client.stream("POST", url, json=run("echo on; sleep 3; echo end"), headers=told) as response,
    ):
        lines = response.iter_lines()
        while "on" not in json.loads(next(lines)).get("text", ""):
            pass
        assert client.delete(f"{url}/annas", headers={"Authorization": "token ben"}).status_code == 404
        assert json.loads(list(lines)[-1])["envelope"]["data"]["stdout"] == "on\nend\n"


def test_too_many_requests_at_once_are_a_429(server: Any) -> None:
    """Beyond the limit a user is told to wait; another user is not affected."""
    _output(server, "anna", "true")
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(_post, server, "anna", run("sleep 3; echo on")) for _ in range(4)]
        while not any(one.done() for one in asked):
            assert _output(server, "ben", "echo free") == "free\n"
    allowed = [one.result() for one in asked if one.result().status_code == 200]
    (refused,) = [one.result() for one in asked if one.result().status_code == 429]
    assert [one.json()["data"]["stdout"] for one in allowed] == ["on\n"] * 3
    assert "3 requests at work, which is all that this server allows" in refused.json()["error"]
    assert (refused.json()["code"], refused.headers["Retry-After"]) == ("rate_limit", "1")


@pytest.mark.parametrize("route", ["worker", "worker/stream"])
def test_too_many_sandboxes_are_a_429(server: Any, route: str) -> None:
    """A user who has as many sandboxes as allowed keeps them, and is told to kill one before the next."""
    for project in ("one", "two"):
        assert _output(server, "admin", "echo in", project_id=project) == "in\n"
    answer = _post(server, "admin", run("true", project_id="three"), route)
    assert answer.status_code == 429
    assert "You have 2 sandboxes" in answer.json()["error"]
    assert _output(server, "admin", "echo in", project_id="two") == "in\n"


def test_a_request_ends_when_its_time_is_over(server: Any) -> None:
    """A command that runs longer than the server allows is killed, and the reason is told."""
    answer = _post(server, "ben", run("exec -a too-long sleep 321")).json()
    assert (answer["success"], answer["code"]) == (False, "command_timeout")
    assert "lets a request run for 8 s" in answer["error"]
    assert _output(server, "ben", "grep -la '[t]oo-long' /proc/[0-9]*/cmdline | wc -l") == "0\n"


def test_a_request_too_large_is_a_413(server: Any) -> None:
    """The size is the administrator's to set."""
    payload = {"type": "write_file", "project_id": "default", "path": "x", "content": "x" * 6000}
    answer = _post(server, "ben", payload)
    assert answer.status_code == 413
    assert "at most 5,000 bytes" in answer.json()["error"]
