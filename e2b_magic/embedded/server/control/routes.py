"""What the modules of routes share: how a route is written down, and how the sandbox that it names is found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from e2b_magic.embedded.server.live import LiveSandbox
from e2b_magic.embedded.server.record import Record
from e2b_magic.embedded.server.sandboxes import Sandboxes

Endpoint = Callable[[Request], Awaitable[Response]]


def route(method: str, path: str, endpoint: Endpoint) -> Route:
    """Gives the route of one method and path."""
    return Route(path, endpoint, methods=[method])


def find(sandboxes: Sandboxes, request: Request) -> LiveSandbox:
    """Gives the running sandbox that a request's path names.

    Raises:
        ProtocolError: There is none.
    """
    sandbox = sandboxes.get(request.path_params["id"])
    if sandbox is None:
        raise sandboxes.missing(request.path_params["id"])
    return sandbox


def find_record(sandboxes: Sandboxes, request: Request) -> Record:
    """Gives the sandbox that a request's path names, running or paused.

    Raises:
        ProtocolError: There is none.
    """
    record = sandboxes.record(request.path_params["id"])
    if record is None:
        raise sandboxes.missing(request.path_params["id"])
    return record
