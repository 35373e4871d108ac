"""What the modules of routes share: how a route is written down, and how the sandbox that it names is found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.sandboxes import LiveSandbox, Sandboxes

Endpoint = Callable[[Request], Awaitable[Response]]


def route(method: str, path: str, endpoint: Endpoint) -> Route:
    """Gives the route of one method and path."""
    return Route(path, endpoint, methods=[method])


def no_sandbox(sandbox_id: str) -> ProtocolError:
    """Gives E2B's answer for a sandbox that is not there."""
    return ProtocolError(404, f"sandbox \"{sandbox_id}\" doesn't exist or you don't have access to it")


def find(sandboxes: Sandboxes, request: Request) -> LiveSandbox:
    """Gives the sandbox that a request's path names.

    Raises:
        ProtocolError: There is none.
    """
    sandbox_id = request.path_params["id"]
    sandbox = sandboxes.get(sandbox_id)
    if sandbox is None:
        raise no_sandbox(sandbox_id)
    return sandbox
