"""The preview of a hostile dev server on a real Jupyter server: what passes, what does not, and who may look."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from .conftest import run

pytestmark = pytest.mark.sandbox

SERVER = Path(__file__).parent / "hostile_server.py"
SECRETS = {
    "Cookie": "username-127-0-0-1=secret",
    "X-XSRFToken": "secret",
    "Referer": "http://127.0.0.1/base/lab?secret",
    "X-Forwarded-For": "secret",
    "X-API-Key": "secret",
    "X-Access-Token": "secret",
    "E2b-Sandbox-Id": "another",
    "E2b-Sandbox-Port": "49983",
    "E2b-Traffic-Access-Token": "secret",
}


@pytest.fixture(scope="module")
def server(start_jupyter: Callable[..., Any]) -> Any:
    """Gives a Jupyter server with the hostile server in its owner's sandbox."""
    server = start_jupyter("c.E2BMagicApp.max_previews = 10\n")
    write = {"type": "write_file", "project_id": "default", "path": "server.py", "content": SERVER.read_text()}
    ready = "until curl -s --noproxy '*' http://127.0.0.1:8000/x; do sleep 0.1; done"
    for payload in (write, run(f"setsid -f python3 server.py >log 2>&1; {ready}")):
        answer = httpx.post(
            f"{server.url}e2b-magic/worker",
            json=payload,
            headers={"Authorization": f"token {server.token}"},
            timeout=60,
            trust_env=False,
        )
        assert answer.json()["success"], answer.text
    return server


@pytest.fixture
def cookies(http: httpx.Client) -> dict[str, str]:
    """Gives what a browser sends along whose user has logged in."""
    http.get("health")
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in http.cookies.items())}


def _path(http: httpx.Client, path: str = "", port: int = 8000) -> str:
    return f"preview/default/{port}/{path}"


def _ticket(http: httpx.Client) -> str:
    """Gives the path below which the page itself lies."""
    answer = http.get(_path(http), headers={"Sec-Fetch-Dest": "iframe"})
    assert answer.status_code == 302
    assert answer.headers["Cache-Control"] == "no-store"
    return str(answer.headers["Location"]).removeprefix("/base/e2b-magic/")


def test_a_request_reaches_the_server_without_what_is_jupyters(http: httpx.Client) -> None:
    """Method, path, query, body and harmless headers arrive; tokens, cookies and routing of E2B's do not."""
    answer = http.post(_path(http, "a%2Fb/c?d=e%20f&g"), content="körper", headers={**SECRETS, "X-Mine": "1"})
    told = answer.json()
    assert (told["method"], told["path"], told["body"]) == ("POST", "/a%2Fb/c?d=e%20f&g", "körper")
    assert told["headers"]["x-mine"] == "1"
    assert "secret" not in json.dumps(told)
    assert not {"authorization", "cookie", "origin", "referer", "x-api-key"} & told["headers"].keys()
    # The E2B server's own, not the browser's.
    assert told["headers"]["e2b-sandbox-id"] != "another"
    assert told["headers"]["e2b-sandbox-port"] == "8000"


@pytest.mark.parametrize("ticketed", [False, True])
def test_an_answer_comes_back_without_what_would_touch_the_origin(http: httpx.Client, ticketed: bool) -> None:
    """Cookies, workers, refreshes and foreign permissions are gone; the policy is ours, and the server's beside it."""
    answer = http.get((_ticket(http) if ticketed else _path(http)) + "echo")
    headers = answer.headers
    assert headers.get_list("Content-Security-Policy")[0] == "sandbox allow-scripts; frame-ancestors 'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Custom"] == "kept"
    gone = ("Service-Worker-Allowed", "Clear-Site-Data", "Strict-Transport-Security", "X-Frame-Options", "Refresh")
    assert not [name for name in gone if name in headers]
    assert "session=evil" not in headers.get("Set-Cookie", "")
    assert headers.get("Access-Control-Allow-Origin") != "https://evil.example"
    assert "Access-Control-Allow-Credentials" not in headers


def test_no_cookie_goes_from_one_server_to_another(http: httpx.Client) -> None:
    """What one answer sets is not brought along by the next request, whoever's that is."""
    for _ in range(2):
        assert "cookie" not in http.get(_path(http, "echo")).json()["headers"]


def test_redirects_are_handed_on_and_not_followed(http: httpx.Client) -> None:
    """A redirect leads below the preview; one that leads out is refused, in a line, and nowhere."""
    answer = http.get(_path(http, "move?/deeper/page"))
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/base/e2b-magic/preview/default/8000/deeper/page"
    for out in ("https://evil.example/", "//evil.example", "/%2e%2e/%2e%2e/%2e%2e/api"):
        answer = http.get(_path(http, f"move?{out}"))
        assert (answer.status_code, "Location" in answer.headers) == (502, False)
        assert "redirects to somewhere else" in answer.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("preview/default/0/", 400),
        ("preview/default/65536/", 400),
        ("preview/default/99999/", 400),
        ("preview/default/49983/", 400),
        ("preview/default/8001/x", 502),
        ("preview/nothing/8000/", 404),
        ("preview/%2e%2e/8000/x", 404),
        ("preview/default%00/8000/x", 404),
        ("preview/default/80x/x", 404),
        ("preview/default/-1/x", 404),
        ("preview/default/8000@evil/x", 404),
        ("preview-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/", 403),
    ],
)
def test_what_is_no_preview_shows_none(http: httpx.Client, path: str, status: int) -> None:
    """A port that none can be, envd's own, one where nobody listens, an unknown project, a made-up ticket."""
    answer = http.get(path)
    assert answer.status_code == status
    if status != 404 or "nothing" in path:
        assert "sandbox allow-scripts" in answer.headers["Content-Security-Policy"]


def test_a_stranger_sees_nothing(server: Any, http: httpx.Client) -> None:
    """Without a token no page, no ticket and no subresource; with a ticket its own port and nothing else."""
    ticket = _ticket(http)
    with httpx.Client(base_url=http.base_url, timeout=60, trust_env=False) as stranger:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
            assert stranger.request(method, _path(http, "echo")).status_code == 403
        assert stranger.get(_path(http), headers={"Sec-Fetch-Dest": "iframe"}).status_code == 403
        assert stranger.get(f"{ticket}echo").json()["path"] == "/echo"
        assert stranger.get("health").status_code == 403
        assert stranger.get("health", headers={"Authorization": f"token {ticket[8:-1]}"}).status_code == 403
        assert stranger.get(f"{ticket}echo", headers={"Host": "evil.example"}).status_code == 403
        assert stranger.get(f"{ticket}%2e%2e/8001/").status_code in (200, 404)  # a path of the server's, no way out


def test_a_cookie_alone_reads_nothing(server: Any, http: httpx.Client, cookies: dict[str, str]) -> None:
    """A page elsewhere that names a script of the preview gets none, though the browser sends the cookie along."""
    with httpx.Client(base_url=http.base_url, headers=cookies, timeout=60, trust_env=False) as browser:
        assert browser.get(_path(http, "module.js")).status_code == 403
        assert browser.get(_path(http, "module.js"), headers={"Referer": "http://localhost:1/"}).status_code == 403
        assert browser.get(_path(http, "module.js"), headers={"Referer": f"{server.url}lab"}).status_code == 200


def test_the_page_may_ask_its_own_server(http: httpx.Client) -> None:
    """At its opaque origin the page reads its own answers, preflight included; no other origin is told so."""
    ticket = _ticket(http)
    with httpx.Client(base_url=http.base_url, timeout=60, trust_env=False) as page:
        asked = {"Origin": "null", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-a"}
        preflight = page.options(f"{ticket}echo", headers=asked)
        assert (preflight.status_code, preflight.headers["Access-Control-Allow-Methods"]) == (204, "PUT")
        assert preflight.headers["Access-Control-Allow-Headers"] == "x-a"
        answer = page.put(f"{ticket}echo", headers={"Origin": "null"})
        assert answer.headers["Access-Control-Allow-Origin"] == "null"
        other = page.get(f"{ticket}echo", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in other.headers


def test_a_service_worker_is_not_served(http: httpx.Client) -> None:
    """A script that is asked for as a service worker of Jupyter's origin is refused."""
    assert http.get(_path(http, "module.js"), headers={"Service-Worker": "script"}).status_code == 403


def test_an_answer_streams(http: httpx.Client) -> None:
    """An event arrives when it is sent, not when the answer ends; a large body arrives whole."""
    began = time.monotonic()
    with http.stream("GET", _path(http, "slow")) as response:
        chunks = response.iter_text()
        assert next(chunks) == "data: first\n\n"
        first = time.monotonic() - began
        assert "".join(chunks) == "data: second\n\n"
    assert time.monotonic() - began - first > 1
    assert len(http.get(_path(http, "big")).content) == 20_000_000


def test_too_many_at_once_are_a_429(http: httpx.Client) -> None:
    """A user's open connections to previews are counted, and are free again when they are closed."""
    streams = [http.stream("GET", _path(http, "slow")) for _ in range(10)]
    opened = [stream.__enter__() for stream in streams]
    assert {response.status_code for response in opened} == {200}
    refused = http.get(_path(http, "echo"))
    assert refused.status_code == 429
    assert "E2BMagicApp.max_previews" in refused.text
    for stream in streams:
        stream.__exit__(None, None, None)
    deadline = time.monotonic() + 20
    while http.get(_path(http, "echo")).status_code == 429:
        assert time.monotonic() < deadline


def _socket(server: Any, path: str, **headers: str) -> Any:
    url = f"{server.url.replace('http', 'ws')}e2b-magic/{path}"
    return websocket_connect(HTTPRequest(url, headers=headers), subprotocols=["one", "two"])


async def test_a_websocket_is_relayed(server: Any, http: httpx.Client) -> None:
    """Text and bytes go there and back, the subprotocol is the server's choice, and its reason to close arrives."""
    for path, headers in (
        (_path(http, "socket"), {"Authorization": f"token {server.token}"}),
        (f"{_ticket(http)}socket", {"Origin": "null"}),
    ):
        socket = await _socket(server, path, Cookie="a=secret", Referer="secret", **headers)
        assert socket.selected_subprotocol == "two"
        for message in ("grüße", b"\x00\xff", "x" * 60_000):
            await socket.write_message(message, binary=isinstance(message, bytes))
            assert await socket.read_message() == message
        await socket.write_message("headers")
        told = json.loads(await socket.read_message())
        assert not {"cookie", "referer", "origin", "authorization"} & told.keys()
        await socket.write_message("leave")
        assert await socket.read_message() is None
        assert (socket.close_code, socket.close_reason) == (4001, "had enough")
        socket.close()


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "token wrong"}, {"Origin": "https://evil.example"}, {"Origin": "null"}],
    ids=["nothing", "wrong", "foreign", "opaque"],
)
async def test_a_websocket_is_refused_before_anything_is_dialled(
    server: Any, http: httpx.Client, cookies: dict[str, str], headers: dict[str, str]
) -> None:
    """Without a token, or from a foreign page with a cookie, the sandbox hears nothing of it."""
    before = _log(http)
    with pytest.raises(HTTPClientError) as caught:
        await _socket(server, _path(http, "socket"), **headers, **(cookies if "Origin" in headers else {}))
    assert caught.value.code == 403
    assert _log(http) == before


async def test_a_foreign_page_cannot_use_a_ticket_for_a_websocket(server: Any, http: httpx.Client) -> None:
    """A ticket's WebSocket is for the page at its opaque origin, not for a page elsewhere that got hold of it."""
    ticket = _ticket(http)
    with pytest.raises(HTTPClientError) as caught:
        await _socket(server, f"{ticket}socket", Origin="https://evil.example")
    assert caught.value.code == 403


def _log(http: httpx.Client) -> str:
    asked = run("grep -c /socket log || true")
    return str(http.post("worker", json=asked).json()["data"]["stdout"])


async def test_a_websocket_that_nobody_takes_is_a_502(server: Any, http: httpx.Client) -> None:
    """Where the server in the sandbox takes none, the handshake says so."""
    with pytest.raises(HTTPClientError) as caught:
        await _socket(server, _path(http, "echo"), Authorization=f"token {server.token}")
    assert caught.value.code == 502


def test_tickets_stay_out_of_the_log(server: Any, http: httpx.Client) -> None:
    """What opens a preview is masked where a request for it is logged."""
    ticket = _ticket(http)
    http.get(f"{ticket}move?https://evil.example/")
    deadline = time.monotonic() + 20
    while "preview-[secret]" not in server.log:
        assert time.monotonic() < deadline
    assert ticket.removeprefix("preview-").rstrip("/") not in server.log


def test_at_an_origin_of_its_own_a_server_is_told_no_path(http: httpx.Client) -> None:
    """Where a browser sees a server at its root, it is told nothing else."""
    command = 'echo "<${BASE_PATH-none}>" > index.html; exec python3 -m http.server 8300'
    start = {"type": "start_dev_server", "project_id": "default", "command": command, "port": 8300}
    assert http.post("worker", json=start).json()["success"]
    assert http.post("worker", json=run("curl -s localhost:8300/")).json()["data"]["stdout"] == "<none>\n"
