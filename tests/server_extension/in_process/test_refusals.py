"""Whom and what the routes refuse, row by row, on a server in this process; no sandbox is ever started here."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from e2b_magic.exceptions import RateLimitError
from e2b_magic.server_extension.users import UserWorker

from .conftest import BASE, KEY, InProcess

TICKET = "preview-" + "A" * 32
# Each of the extension's routes, by a path that leads there, and the methods that it answers.
ROUTES = {
    "health": ("GET",),
    "worker": ("POST",),
    "worker/stream": ("POST",),
    "worker/stream/some-id": ("DELETE",),
    "preview/web/8000/x": ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
    f"{TICKET}/x": ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"),
}
REQUESTS = [(method, path) for path, methods in ROUTES.items() for method in methods]


# What a server may be set to send with every answer, for pages that trust each other.
LAX = {"Content-Security-Policy": "frame-ancestors *", "X-Content-Type-Options": "", "Referrer-Policy": "unsafe-url"}

# Jupyter may let in whom a handler has forgotten to refuse; that must not matter.
EITHER = pytest.mark.parametrize(
    "settings", [{}, {"ServerApp": {"allow_unauthenticated_access": True}}], ids=["closed", "open"]
)


@EITHER
def test_nobody_is_let_in_without_a_good_token(server: InProcess) -> None:
    """Every method of every route refuses who shows nothing, or what is wrong, whatever the server itself lets in."""
    patterns = [rule[0] for rule in server.extension.handlers]
    assert all(any(re.fullmatch(pattern, f"/e2b-magic/{path}") for path in ROUTES) for pattern in patterns)
    for method, path in REQUESTS:
        for shown in ("", "token wrong", "token e2bw_wrong", f"token {KEY}", f"Bearer {'A' * 32}", "Basic dTpw"):
            answer = server.ask(method, f"e2b-magic/{path}", Authorization=shown)
            assert answer.code == 403, (method, path, shown)
        assert server.ask(method, f"e2b-magic/{path}?token=wrong", Authorization="").code == 403


@EITHER
def test_nobodys_websocket_is_let_in(server: InProcess) -> None:
    """A WebSocket is refused before its handshake, on the preview's routes as on those that take none."""
    for path in ROUTES:
        for shown in ("", "token wrong"):
            url = f"ws{server.client.get_url(f'{BASE}e2b-magic/{path}').removeprefix('http')}"
            asked = HTTPRequest(url, headers={"Authorization": shown})

            async def connect(asked: HTTPRequest = asked) -> object:
                return await websocket_connect(asked)

            with pytest.raises(HTTPClientError) as caught:
                server.loop.run_until_complete(connect())
            assert caught.value.code in (403, 405), (path, shown)


def test_a_method_that_a_route_does_not_have_is_refused(server: InProcess) -> None:
    """Even with the right token, what no route answers is a 405, and nothing else happens."""
    for path, methods in ROUTES.items():
        if not path.startswith(("preview", TICKET)):
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - {*methods}:
                assert server.ask(method, f"e2b-magic/{path}").code == 405, (method, path)


PATHS = [
    *("worker/stream/../api", "worker/stream/%2e%2e%2fapi", "worker/stream/%00", "worker/stream/A"),
    *("worker/stream/a/b", f"worker/stream/{'a' * 65}", "worker/stream/a%0d%0ab"),
    *("preview/%2e%2e/8000/x", "preview/web%00/8000/x", "preview/web/80x/x", "preview/web/-1/x"),
    *("preview/web/8000@evil/x", "preview/web/123456/x", "preview/WEB%2f/1/x", "preview-%2e%2e/x"),
]


def test_an_id_is_an_id(server: InProcess) -> None:
    """What is none, however it is written, reaches no handler of ours."""
    for path in PATHS:
        answer = server.ask("DELETE", f"e2b-magic/{path}")
        assert answer.code in (403, 404, 405), path
        assert b"No such request is at work" not in answer.body, path


def _run(**more: Any) -> bytes:
    return json.dumps({"type": "execute_command", "project_id": "default", "command": "ls", **more}).encode()


BAD = [
    (b"{", "must be JSON"),
    (b"", "must be JSON"),
    (b"\xff\xfe", "must be JSON"),
    (b"[" * 200_000, "must be JSON"),
    (b"9" * 5_000, "must be JSON"),
    (b"7", "must be a JSON object"),
    (b"[]", "must be a JSON object"),
    (b"null", "must be a JSON object"),
    (b"{}", "Unknown request type None"),
    (b'{"type": "launch_missiles"}', "Unknown request type 'launch_missiles': use one of"),
    (b'{"type": ["ls"]}', "Unknown request type"),
    (_run(project_id="../etc"), "cannot name a project"),
    (_run(colour="red"), "does not take colour"),
    (_run(execution="two\nlines"), "An execution's id must be"),
    (_run(api_key=7), "api_key must be a string"),
    (_run(api_key="e2b_\n x"), "holds characters that no E2B API key has"),
]


def test_what_cannot_be_meant_is_a_400_with_a_reason(server: InProcess, caplog: pytest.LogCaptureFixture) -> None:
    """Broken, deep or foreign JSON, a scalar, an unknown type: 400, and one line of JSON that says what was wrong."""
    caplog.set_level(logging.INFO)
    for route in ("worker", "worker/stream"):
        for body, says in BAD:
            answer = server.ask("POST", f"e2b-magic/{route}", body)
            assert answer.code == 400, body[:40]
            envelope = json.loads(answer.body)
            assert (envelope["success"], envelope["code"]) == (False, "invalid_request")
            assert says in envelope["error"], body[:40]
            assert "\n" not in envelope["error"]
    # What was to be an id, a type or a project and is none could be anything, so the log has none of it.
    assert '"execution": ""' in caplog.text
    assert not [text for text in ("lines", "launch_missiles", "../etc") if text in caplog.text]


@pytest.mark.parametrize("settings", [{"E2BMagicApp": {"max_request_bytes": 2000}}], ids=["small"])
def test_a_body_too_large_is_a_413(server: InProcess) -> None:
    """What is larger than the administrator allows is refused with the limit's name, and what just fits is not."""
    for route in ("worker", "worker/stream", "preview/web/8000/x"):
        answer = server.ask("POST", f"e2b-magic/{route}", b" " * 2001)
        assert answer.code == 413, route
        assert b"at most 2,000 bytes (E2BMagicApp.max_request_bytes)" in answer.body
    assert server.ask("POST", "e2b-magic/worker", b" " * 2000).code == 400


@pytest.mark.parametrize("settings", [{}, {"ServerApp": {"tornado_settings": {"headers": LAX}}}], ids=["own", "lax"])
def test_a_refusal_has_the_previews_policy(server: InProcess) -> None:
    """Whatever a preview's route answers, and Jupyter's others, it is a page without any right at Jupyter's origin."""
    for path, shown in (("preview/web/8000/x", ""), ("preview/web/49983/x", "token wrong"), (f"{TICKET}/x", "")):
        answer = server.ask("GET", f"e2b-magic/{path}", Authorization=shown)
        assert answer.headers["Content-Security-Policy"] == "sandbox allow-scripts; frame-ancestors 'self'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Content-Type"].startswith("text/plain")


def test_a_previews_refusal_is_told_as_it_is(server: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """An advice that names a magic, whose sign is that of a format, reaches the browser letter by letter."""
    told = "You have 20 sandboxes: kill one, as with `%e2b kill NAME`"

    async def refuse(*arguments: object) -> None:
        raise RateLimitError(told)

    monkeypatch.setattr(UserWorker, "port_address", refuse)
    answer = server.ask("GET", "e2b-magic/preview/web/8000/x")
    assert (answer.code, answer.body.decode()) == (429, f"{told}\n")


def test_an_errors_text_does_not_bring_a_key_into_the_log(
    server: InProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception that nobody has foreseen, with keys in its text: answered and logged without them."""
    other = "e2b_" + "0dd5ec2e7" * 4

    def fail(*arguments: object) -> None:
        raise RuntimeError(f"cannot use {KEY}, nor {other}")

    monkeypatch.setattr(type(server.extension.workers), "of", fail)
    for method, path in REQUESTS[:3]:
        answer = server.ask(method, f"e2b-magic/{path}", _run() if method == "POST" else None)
        assert answer.code == 500
        assert not [key for key in (KEY, other) if key in answer.body.decode()]
    assert "RuntimeError: cannot use [secret], nor [secret]" in caplog.text
    assert not [key for key in (KEY, other) if key in caplog.text]
