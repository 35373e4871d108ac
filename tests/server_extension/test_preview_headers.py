"""The preview's headers and redirects, as data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2b_magic.server_extension.preview_headers import moved, to_browser, to_sandbox

ORIGIN = "http://127.0.0.1:49200"
BASE = "/base/e2b-magic/preview-x/"
PREFIX = "/base/e2b-magic/preview/web/8000/"


@pytest.mark.parametrize(
    ("location", "leads"),
    [
        ("/login", "login"),
        ("login?a=b#c", "app/login?a=b#c"),
        ("../x", "x"),
        ("../../../../lab", "lab"),
        (f"{ORIGIN}/there", "there"),
        (f"{BASE}deeper", "deeper"),
        ("http://localhost:8000/there", "there"),
        ("//evil.example/x", None),
        ("https://evil.example/", None),
        ("http://127.0.0.1:8888/lab", None),
        ("/%2e%2e/%2e%2e/lab", None),
        ("/a/%2E./b", None),
        ("/\\evil.example", None),
        ("javascript:alert(1)", None),
        ("data:text/html,x", None),
        ("http://[", None),
        (" /x", None),
    ],
)
def test_a_redirect_stays_below_the_preview(location: str, leads: str | None) -> None:
    """What leads elsewhere at the server leads elsewhere below the prefix; what leads out is refused."""
    assert moved(location, "/app/", PREFIX, ORIGIN, BASE) == (None if leads is None else PREFIX + leads)


@given(st.text(st.sampled_from("/.%2eE\\:@?#ab ") | st.characters(max_codepoint=300), max_size=20))
def test_no_redirect_climbs_out(location: str) -> None:
    """Whatever the server says, a browser that resolves it stays below the prefix."""
    target = moved(location, "/app/", PREFIX, ORIGIN, BASE)
    if target is not None:
        assert target.startswith(PREFIX)
        path = target.removeprefix(PREFIX).partition("?")[0].partition("#")[0].lower().replace("%2e", ".")
        assert ".." not in path.split("/")
        assert not path.startswith("/")


def test_a_connection_header_takes_what_it_names_with_it() -> None:
    """What a message says is about its connection is not passed on, either way."""
    headers = [("Connection", "close, X-Hop"), ("X-Hop", "1"), ("X-End", "2")]
    assert to_sandbox(headers) == to_browser(headers) == [("x-end", "2")]
