"""What passes between a browser at Jupyter's origin and a page from a sandbox, header by header.

The page is a stranger there. On its way in a request loses what Jupyter's cookies and tokens are worth; on its way out
an answer loses what would change the origin's state, and gains a policy that gives the page an origin of its own, one
that equals no other. All of it is here as data and pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urljoin, urlsplit

POLICY = "sandbox allow-scripts; frame-ancestors 'self'"
"""Scripts run, but at an opaque origin: no `allow-same-origin`, ever, nor forms, popups or the top window."""

Headers = list[tuple[str, str]]

# What concerns one connection (RFC 9110, 7.6.1).
_HOP = {"connection", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
_KEPT_FROM_SANDBOX = {
    # Jupyter's secrets, and what shows where the page is looked at from.
    *("authorization", "cookie", "x-csrftoken", "x-xsrftoken"),
    *("forwarded", "origin", "referer", "x-real-ip"),
    # What would name another sandbox to an E2B server.
    *("x-access-token", "x-api-key"),
}
_KEPT_FROM_SANDBOX_PREFIXES = ("e2b-", "proxy-", "sec-websocket-", "x-forwarded-", "x-jupyter")
_KEPT_FROM_BROWSER = {
    # What would change the state of Jupyter's origin, or of its connection.
    *("alt-svc", "authentication-info", "clear-site-data", "expect-ct", "nel", "proxy-authenticate"),
    *("public-key-pins", "refresh", "report-to", "reporting-endpoints", "service-worker-allowed", "set-cookie"),
    *("set-cookie2", "strict-transport-security", "www-authenticate"),
    # What is ours to say.
    *("cross-origin-embedder-policy", "cross-origin-opener-policy", "cross-origin-resource-policy", "date"),
    *("location", "referrer-policy", "server", "x-content-type-options", "x-frame-options"),
}
_KEPT_FROM_BROWSER_PREFIXES = ("access-control-",)


def _passed(headers: Iterable[tuple[str, str]], names: set[str], prefixes: tuple[str, ...]) -> Headers:
    given = [(name.lower(), value) for name, value in headers]
    # A connection's header may name others that are about the connection too.
    named = {word.strip().lower() for name, value in given if name == "connection" for word in value.split(",")}
    return [
        (name, value)
        for name, value in given
        if name not in _HOP and name not in names and name not in named and not name.startswith(prefixes)
    ]


def to_sandbox(headers: Iterable[tuple[str, str]]) -> Headers:
    """Gives the headers of a browser's request that a server in a sandbox may see."""
    return _passed(headers, _KEPT_FROM_SANDBOX, _KEPT_FROM_SANDBOX_PREFIXES)


def to_browser(headers: Iterable[tuple[str, str]]) -> Headers:
    """Gives the headers of a sandbox's answer that a browser may see; policies of its own add to ours."""
    return _passed(headers, _KEPT_FROM_BROWSER, _KEPT_FROM_BROWSER_PREFIXES)


def leads_below(location: str | None, base: str) -> bool:
    """Whether a redirect leads to a path, or below it."""
    try:
        return location is not None and urlsplit(location).path.startswith(base)
    except ValueError:
        return False


def moved(location: str, path: str, prefix: str, origin: str, base: str) -> str | None:
    """Gives where a redirect leads as seen by the browser, or None when it leads out of the preview.

    Args:
        location: What the server in the sandbox said.
        path: The path that was asked of it.
        prefix: Where the preview's root lies at Jupyter's origin, with a slash at its end.
        origin: Where the server believes that it is asked, such as `http://127.0.0.1:1234`.
        base: The path below which it may have been told that it lives.
    """
    if re.search(r"[\x00-\x20\\]", location):  # which browsers drop, or take for a slash
        return None
    try:
        # Resolved here, since the browser would let `../..` climb out of the prefix.
        target = urlsplit(urljoin(origin + path, location))
        at_home = (target.scheme, target.netloc) == urlsplit(origin)[:2] or target.hostname == "localhost"
    except ValueError:
        return None
    climbs = re.search(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", target.path, re.IGNORECASE)
    if not at_home or climbs:
        return None
    query = f"?{target.query}" if target.query else ""
    fragment = f"#{target.fragment}" if target.fragment else ""
    return prefix + target.path.removeprefix(base).lstrip("/") + query + fragment
