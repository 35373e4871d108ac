"""The routes that show sandboxes: lists, and one with all its details."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from e2b_magic.embedded.server.control.answers import description, details
from e2b_magic.embedded.server.control.routes import Routes, route
from e2b_magic.embedded.server.listing import Query


class Showing(Routes):
    """Which sandboxes there are."""

    def routes(self) -> list[Route]:
        """Gives them."""
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
        return JSONResponse(details(self._record(request), self._sandboxes.limits))
