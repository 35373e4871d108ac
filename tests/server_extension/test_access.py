"""Who is let in, of browsers with a cookie and kernels with a token: Jupyter's own checks, none of them switched off.

`in_process/test_refusals.py` has who is refused whatever is in between.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from e2b_magic.client import Client
from e2b_magic.config import from_environment

from .conftest import run, started_kernel

pytestmark = pytest.mark.sandbox

ROUTES = [
    ("GET", "health"),
    ("POST", "worker"),
    ("POST", "worker/stream"),
    ("DELETE", "worker/stream/some-id"),
]


@pytest.fixture
def bare(server: Any) -> Iterator[httpx.Client]:
    """Gives a client that shows nothing."""
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def browser(server: Any, bare: httpx.Client) -> httpx.Client:
    """Gives a client with the cookies of a user who has logged in, as a browser has them."""
    page = bare.get("login")
    xsrf = {"_xsrf": bare.cookies["_xsrf"]}
    assert page.status_code == 200
    bare.post("login", data={"password": server.token, **xsrf})
    assert bare.get("api/me", headers={"Referer": server.url}).status_code == 200
    return bare


def _ask(client: httpx.Client, method: str, route: str, **headers: str) -> httpx.Response:
    content = json.dumps(run("true")) if method == "POST" else None
    return client.request(method, f"e2b-magic/{route}", content=content, headers=headers)


@pytest.mark.parametrize(("method", "route"), ROUTES[1:])
def test_a_cookie_alone_changes_nothing(browser: httpx.Client, method: str, route: str) -> None:
    """With a cookie a request that changes something needs the XSRF token too; with it, it is let in."""
    referer = {"Referer": str(browser.base_url)}
    assert _ask(browser, method, route, **referer).status_code == 403
    allowed = _ask(browser, method, route, **referer, **{"X-XSRFToken": browser.cookies["_xsrf"]})
    assert allowed.status_code == (404 if method == "DELETE" else 200)


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_a_foreign_page_is_refused(browser: httpx.Client, method: str, route: str) -> None:
    """With a cookie, and even with the XSRF token, a request from another origin is refused."""
    told = {"Origin": "https://evil.example", "X-XSRFToken": browser.cookies["_xsrf"]}
    assert _ask(browser, method, route, **told).status_code in (403, 404)


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_a_foreign_host_is_refused(server: Any, bare: httpx.Client, method: str, route: str) -> None:
    """A name that was made to resolve to this machine is refused, with whatever token."""
    told = {"Host": "evil.example", "Authorization": f"token {server.token}"}
    assert _ask(bare, method, route, **told).status_code == 403


@pytest.fixture
def kernel(server: Any) -> Iterator[Callable[[str], str]]:
    """Runs code in a kernel that the server has started, and gives what it prints."""
    with started_kernel(server) as kernel:
        yield kernel.execute


def test_a_kernels_token_opens_the_worker_alone(server: Any, bare: httpx.Client, kernel: Callable[[str], str]) -> None:
    """What a kernel finds in its environment opens our routes, by the header only, and nothing of Jupyter's."""
    printed = kernel("import os; print({n: v for n, v in os.environ.items() if n.startswith('E2B_MAGIC_')})")
    variables = dict(re.findall(r"'(E2B_MAGIC_\w+)': '([^']*)'", printed))
    token = variables["E2B_MAGIC_WORKER_TOKEN"]
    assert token.startswith("e2bw_")
    assert variables["E2B_MAGIC_WORKER_URL"].replace("localhost", "127.0.0.1") == server.url
    told = {"Authorization": f"token {token}"}
    assert _ask(bare, "GET", "health", **told).status_code == 200
    assert _ask(bare, "POST", "worker", **told).json()["success"]
    bare.cookies.clear()
    assert bare.get(f"e2b-magic/health?token={token}").status_code == 403
    for route in ("api/contents", "api/kernels", "api/terminals", "api/sessions"):
        assert bare.get(route, headers={"Authorization": f"token {server.token}"}).status_code == 200
        bare.cookies.clear()  # which the right token has brought
        assert bare.get(route, headers=told).status_code == 403
    assert bare.post("api/kernels", headers=told, json={}).status_code == 403


def test_a_kernel_works_by_way_of_the_server(server: Any, kernel: Callable[[str], str], tmp_path: Any) -> None:
    """The magics in such a kernel need nothing else: the command runs, by way of the server, in the owner's sandbox."""
    printed = kernel("from e2b_magic import shared_client\n%load_ext e2b_magic\n%e2b run echo from-$((6 * 7))")
    assert "from-42" in printed
    # The server's log and the kernel's history call the command by the same id.
    identity = kernel("print(shared_client().get_execution_history()[0].id)").strip()
    assert f'"execution": "{identity}"' in server.log
    # Without a server the same user finds the same sandbox.
    client = Client(from_environment({"E2B_MAGIC_DIRECTORY": str(server.directory)}))
    assert kernel("r = %e2b run --no-cache true\nprint(r.sandbox_id)")
    identity = client.execute_command("true", use_cache=False).sandbox_id
    client.close()
    assert identity in kernel("r = %e2b run --no-cache true\nprint(r.sandbox_id)")
