"""Refusals for people: what a browser shows where a program is told the same in JSON."""

from __future__ import annotations

import html
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response

from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.text import readable

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<title>{status} {phrase}</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; margin: 15vh auto; max-width: 36em; padding: 0 1em }}</style>
<h1>{message}</h1>
<p>{hint}</p>
<p><small>{status} {phrase}{details}</small></p>
</html>
"""
_HINTS = {
    "port": "Start a server on this port in the sandbox, then load the page again.",
    "sandboxId": "It may have ended, or been paused: its creator can tell.",
}


def wants_page(headers: Headers) -> bool:
    """Whether a request comes from a browser that is to show something."""
    return "text/html" in headers.get("accept", "")


def page_of(error: ProtocolError) -> Response:
    """Gives a refusal as a page, in which nothing runs and to which nothing is loaded."""
    details = "".join(f" · {html.escape(f'{name}: {value}')}" for name, value in error.fields.items())
    text = _PAGE.format(
        status=error.status,
        phrase=HTTPStatus(error.status).phrase,
        message=html.escape(error.message),
        hint=next((hint for field, hint in _HINTS.items() if field in error.fields), ""),
        details=details,
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return HTMLResponse(readable(text), error.status, {"content-security-policy": policy, "cache-control": "no-store"})
