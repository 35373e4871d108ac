"""Requests made up from E2B's own OpenAPI files: whatever fits them, or nearly does, is answered, and never by a 500.

The files are E2B's (tests/embedded/server/e2b_openapi/NOTICE says whose, and under which licence). They tell of more
than this server has: what it has not is refused in E2B's shape like anything else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from e2b import Sandbox
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok

from e2b_magic.embedded.endpoint import Endpoint

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

# Requests for each of the two files; more of them find more (E2B_MAGIC_TEST_EXAMPLES=5000).
EXAMPLES = int(os.environ.get("E2B_MAGIC_TEST_EXAMPLES", "200"))
# Seconds after which a request counts as hanging.
PATIENCE = 20.0
FOLDER = Path(__file__).with_name("e2b_openapi")
bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def _cases(file: str) -> st.SearchStrategy[Any]:
    """Gives requests for any operation of a file, each as likely as another."""
    schema = schemathesis.openapi.from_path(FOLDER / file)
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    return st.sampled_from(operations).flatmap(lambda operation: operation.as_strategy())


CONTROL, ENVD = _cases("openapi.yml"), _cases("envd.yaml")


@pytest.fixture
def alive(server: Endpoint, server_directory: Path) -> Iterator[None]:
    """Sees in the end that the server serves, and that its log tells of no failure."""
    yield
    headers = {"X-API-Key": server.api_key}
    assert httpx.get(f"{server.url}/e2b-magic/status", headers=headers, trust_env=False).status_code == 200
    assert "Traceback" not in (server_directory / "server.log").read_text(encoding="utf-8", errors="replace")


def _ask(case: Any, url: str, headers: dict[str, str]) -> Any:
    """Sends a request, and gives its answer if that is one that E2B's clients understand."""
    answer = case.call(base_url=url, headers=headers, timeout=PATIENCE)
    assert answer.status_code != 500, answer.text
    if answer.status_code >= 400 and case.method.upper() != "HEAD":
        told = answer.json()
        assert told.get("message") or told.get("code"), told
    return answer


@bounded
@given(case=CONTROL, own=st.booleans())
@pytest.mark.usefixtures("alive")
def test_the_control_routes_keep_to_the_schema(case: Any, own: bool, server: Endpoint, options: dict[str, Any]) -> None:
    """No request that E2B's schema allows makes a control route fail; half are about a sandbox that is there."""
    sandbox = Sandbox.create(**options, timeout=60) if own and "sandboxID" in case.path_parameters else None
    if sandbox is not None:
        case.path_parameters["sandboxID"] = sandbox.sandbox_id
    if own and isinstance(case.body, dict) and "templateID" in case.body:
        case.body["templateID"] = "base"
    answer = _ask(case, server.url, {"X-API-Key": server.api_key})
    made = answer.json() if answer.status_code == 201 else None
    for one in made if isinstance(made, list) else [made]:
        if isinstance(one, dict) and (new := one.get("sandbox", one)).get("sandboxID"):
            Sandbox.kill(new["sandboxID"], **options)
    if sandbox is not None:
        sandbox.kill()


@bounded
@given(case=ENVD, with_token=st.booleans())
@pytest.mark.usefixtures("alive")
def test_envds_routes_keep_to_the_schema(case: Any, with_token: bool, server: Endpoint, sandbox: Sandbox) -> None:
    """Nor does one make a route of a sandbox's own fail, with its token or without."""
    headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "49983"}
    if with_token:
        headers["X-Access-Token"] = str(sandbox._envd_access_token)
    _ask(case, server.url, headers)
