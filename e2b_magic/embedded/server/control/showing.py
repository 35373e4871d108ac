"""The routes that show sandboxes: lists, and one with all its details."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from e2b_magic.embedded.server.control.answers import description, details
from e2b_magic.embedded.server.control.routes import find_record, route
from e2b_magic.embedded.server.listing import Query
from e2b_magic.embedded.server.sandboxes import Sandboxes


class Showing:
    """These routes.

    Args:
        sandboxes: The sandboxes they are about.
    """

    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes

    def routes(self) -> list[Route]:
        """Gives the routes."""
        return [
            route("GET", "/sandboxes", self._list),
            route("GET", "/v2/sandboxes", self._list),
            route("GET", "/sandboxes/{id}", self._details),
        ]

    async def _list(self, request: Request) -> Response:
        page, token = Query.from_parameters(request.query_params).page(self._sandboxes.records)
        headers = {"X-Next-Token": token} if token is not None else None
        return JSONResponse([description(sandbox, self._sandboxes.limits) for sandbox in page], headers=headers)

    async def _details(self, request: Request) -> Response:
        return JSONResponse(details(find_record(self._sandboxes, request), self._sandboxes.limits))
