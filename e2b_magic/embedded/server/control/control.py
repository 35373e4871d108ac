"""The door to the control routes: no request comes through without the key."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from e2b_magic.embedded.server.control.absent import Absent
from e2b_magic.embedded.server.control.copying import Copying
from e2b_magic.embedded.server.control.lifecycle import Lifecycle
from e2b_magic.embedded.server.control.logs import Logs
from e2b_magic.embedded.server.control.metrics import Measuring
from e2b_magic.embedded.server.control.network import Network
from e2b_magic.embedded.server.control.pausing import Pausing
from e2b_magic.embedded.server.control.routes import route
from e2b_magic.embedded.server.control.showing import Showing
from e2b_magic.embedded.server.control.templates import TemplateRoutes
from e2b_magic.embedded.server.metrics import Metrics
from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.sandboxes import Sandboxes
from e2b_magic.embedded.server.tokens import equal


class Control:
    """The control routes.

    Args:
        sandboxes: The sandboxes they are about.
        api_key: The key that every request must carry.
        metrics: What they use.
    """

    def __init__(self, sandboxes: Sandboxes, api_key: str, metrics: Metrics) -> None:
        self._sandboxes = sandboxes
        self._metrics = metrics
        self._api_key = api_key
        self._router = Router(self._routes(), redirect_slashes=False, default=_no_route)

    def _routes(self) -> list[Route]:
        return [
            *Lifecycle(self._sandboxes).routes(),
            *Measuring(self._sandboxes, self._metrics).routes(),
            *Network(self._sandboxes).routes(),
            *Pausing(self._sandboxes).routes(),
            *Copying(self._sandboxes).routes(),
            *Logs(self._sandboxes).routes(),
            *Showing(self._sandboxes).routes(),
            *TemplateRoutes(self._sandboxes).routes(),
            *Absent(self._sandboxes).routes(),
            # Not E2B's: what `e2b_magic.embedded.runtime` asks.
            route("GET", "/e2b-magic/status", self._status),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, if it carries the key; whether the server is there it tells anybody, as E2B does."""
        if scope["path"] == "/health" and scope["method"] == "GET":
            await Response(status_code=204)(scope, receive, send)
            return
        if not equal(Request(scope).headers.get("x-api-key"), self._api_key):
            raise ProtocolError(401, "the X-API-Key header must hold the embedded server's API key")
        try:
            # Told of an application, Starlette raises what it would else answer in plain text.
            await self._router({**scope, "app": self}, receive, send)
        except HTTPException as error:
            raise ProtocolError(error.status_code, f"{scope['path']} does not take {scope['method']}") from error

    async def _status(self, request: Request) -> Response:
        return JSONResponse({"sandboxes": len(self._sandboxes)})


async def _no_route(scope: Scope, receive: Receive, send: Send) -> None:
    raise ProtocolError(404, f"the embedded server has no route {scope['method']} {scope['path']}")
