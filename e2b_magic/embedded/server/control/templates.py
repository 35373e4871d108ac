"""The routes of templates."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from e2b_magic.embedded.server.control.routes import route
from e2b_magic.embedded.server.creation import TEMPLATE
from e2b_magic.embedded.server.protocol_errors import ProtocolError


class Templates:
    """These routes."""

    def routes(self) -> list[Route]:
        """Gives the routes."""
        return [route("GET", "/templates/aliases/{alias}", self._alias)]

    async def _alias(self, request: Request) -> Response:
        alias = request.path_params["alias"]
        if alias != TEMPLATE:
            raise ProtocolError(404, f"template '{alias}' not found")
        return JSONResponse({"templateID": TEMPLATE, "public": True})
