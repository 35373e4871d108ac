"""A Jupyter server in the tests' own process, by pytest-jupyter's fixtures: quick to start, so that each test has one.

Of the plugin only its fixtures are taken, and only in this folder: as a whole it would run the coroutines among all
tests on a loop of its own, and look for a server to clean up after each of them.
"""

from __future__ import annotations

import asyncio
import importlib
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPResponse
from traitlets.config import Config

_before = resource.getrlimit(resource.RLIMIT_NOFILE)
_plugin = importlib.import_module("pytest_jupyter.jupyter_server")
resource.setrlimit(resource.RLIMIT_NOFILE, _before)  # which the plugin changes for the whole process
_FIXTURES = [name for name in dir(_plugin) if name.startswith("jp_")]
_FIXTURES += ["echo_kernel_spec", "http_server", "http_server_client", "http_server_port"]
globals().update({name: getattr(_plugin, name) for name in _FIXTURES})

BASE = "/a%40b/"
"""The plugin's base URL, which is not a plain one."""
KEY = "e2b_" + "c0ffee" * 6
"""A key that the server finds in its environment; no E2B is ever asked with it here."""


@pytest.fixture
def settings() -> dict[str, dict[str, Any]]:
    """Gives the server's settings, by class; for a test to change."""
    return {}


@pytest.fixture
def environment() -> dict[str, str]:
    """Gives what the server finds in its environment; for a test to change."""
    return {"E2B_API_KEY": KEY}


@pytest.fixture
def jp_server_config(
    settings: dict[str, dict[str, Any]],
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Config:
    """Gives the configuration of a server with the extension, whose files lie in the test's own directory."""
    for name, value in ({"E2B_MAGIC_DIRECTORY": str(tmp_path / "e2b-magic")} | environment).items():
        monkeypatch.setenv(name, value)
    ours = {"jpserver_extensions": {"e2b_magic": True}, "allow_unauthenticated_access": False}
    return Config({**settings, "ServerApp": ours | settings.get("ServerApp", {})})


@dataclass(frozen=True)
class InProcess:
    """A Jupyter server in this process.

    Attributes:
        app: Jupyter's application.
        client: What asks it; not `jp_fetch`, which would escape what is to be sent as it is written.
        loop: Where both run.
    """

    app: Any
    client: Any
    loop: asyncio.AbstractEventLoop

    @property
    def extension(self) -> Any:
        """The extension."""
        return self.app.web_app.settings["e2b_magic"]

    @property
    def token(self) -> str:
        """Jupyter's own token."""
        return str(self.app.identity_provider.token)

    def ask(self, method: str, path: str, body: str | bytes | None = None, **headers: str) -> HTTPResponse:
        """Gives the answer to a request.

        Args:
            method: The method.
            path: The path below the base URL, as it is to be sent.
            body: The body; an empty one where the method wants one.
            headers: Its headers, with `_` for `-`; Jupyter's own token is shown where there is no `Authorization`.
        """
        given = {"Authorization": f"token {self.token}"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        if body is None and method in ("POST", "PUT", "PATCH"):
            body = b""
        asked = self.client.fetch(
            f"{BASE}{path}", method=method, body=body, headers=given, raise_error=False, follow_redirects=False
        )
        answer: HTTPResponse = self.loop.run_until_complete(asked)
        return answer


@pytest.fixture
def server(jp_serverapp: Any, http_server_client: Any, jp_asyncio_loop: Any) -> Any:
    """Gives the server."""
    return InProcess(jp_serverapp, http_server_client, jp_asyncio_loop)
