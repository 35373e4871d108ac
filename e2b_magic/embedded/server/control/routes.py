"""What the modules of routes share: how a route is written down, and how the sandbox that it names is found."""

from __future__ import annotations

from abc import ABC, abstractmethod
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


class Routes(ABC):
    """The routes of one subject.

    Args:
        sandboxes: The sandboxes they are about.
    """

    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes

    @abstractmethod
    def routes(self) -> list[Route]:
        """Gives the routes."""

    def _running(self, request: Request) -> LiveSandbox:
        """Gives the running sandbox that a request's path names.

        Raises:
            ProtocolError: There is none.
        """
        sandbox = self._sandboxes.get(request.path_params["id"])
        if sandbox is None:
            raise self._sandboxes.missing(request.path_params["id"])
        return sandbox

    def _record(self, request: Request) -> Record:
        """Gives the sandbox that a request's path names, running or paused.

        Raises:
            ProtocolError: There is none.
        """
        record = self._sandboxes.record(request.path_params["id"])
        if record is None:
            raise self._sandboxes.missing(request.path_params["id"])
        return record
