"""A real server that the tests of this folder share, and a sandbox in it for those that leave it as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2b import Sandbox

from e2b_magic.embedded import runtime
from e2b_magic.embedded.endpoint import Endpoint
from e2b_magic.exceptions import ContainmentError

Options = dict[str, Any]


def _options_for(endpoint: Endpoint) -> Options:
    return {
        "api_key": endpoint.api_key,
        "api_url": endpoint.url,
        "sandbox_url": endpoint.url,
        "domain": "localhost",
        "debug": False,
    }


@pytest.fixture(scope="session")
def options_for() -> Callable[[Endpoint], Options]:
    """Gives what every call of the SDK takes to reach a server."""
    return _options_for


@pytest.fixture(scope="session")
def server_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gives the directory of the shared server."""
    return tmp_path_factory.mktemp("shared") / "embedded"


@pytest.fixture(scope="session")
def server(server_directory: Path) -> Iterator[Endpoint]:
    """Gives the shared server."""
    try:
        endpoint = runtime.ensure(server_directory)
    except ContainmentError as error:
        pytest.skip(str(error))
    yield endpoint
    runtime.stop(server_directory)


@pytest.fixture(scope="session")
def options(server: Endpoint) -> Options:
    """Gives what every call of the SDK takes to reach the shared server."""
    return _options_for(server)


@pytest.fixture(scope="module")
def sandbox(options: Options) -> Iterator[Sandbox]:
    """Gives a sandbox that a module's tests share."""
    sandbox = Sandbox.create(**options)
    yield sandbox
    sandbox.kill()


@pytest.fixture
def own_sandbox(options: Options) -> Iterator[Sandbox]:
    """Gives a sandbox of the test's own, which it may kill."""
    sandbox = Sandbox.create(**options)
    yield sandbox
    sandbox.kill()


@pytest.fixture
def control(server: Endpoint) -> Iterator[httpx.Client]:
    """Gives a plain HTTP client that carries the API key."""
    with httpx.Client(base_url=server.url, headers={"X-API-Key": server.api_key}, trust_env=False) as client:
        yield client


@pytest.fixture
def envd(server: Endpoint, sandbox: Sandbox) -> Iterator[httpx.Client]:
    """Gives a plain HTTP client that speaks to the shared sandbox's own server."""
    headers = {
        "E2b-Sandbox-Id": sandbox.sandbox_id,
        "E2b-Sandbox-Port": "49983",
        "X-Access-Token": str(sandbox._envd_access_token),
    }
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as client:
        yield client
