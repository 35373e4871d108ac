"""The routes of a sandbox's life: created, extended, killed."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from e2b_magic.embedded.server.bodies import read_object, timeout_in
from e2b_magic.embedded.server.control.answers import access
from e2b_magic.embedded.server.control.routes import Endpoint, Routes, route
from e2b_magic.embedded.server.creation import creation_in


class Lifecycle(Routes):
    """A sandbox's life."""

    def routes(self) -> list[Route]:
        """Gives them."""
        return [
            route("POST", "/sandboxes", self._create(1)),
            route("POST", "/v2/sandboxes", self._create(2)),
            route("DELETE", "/sandboxes/{id}", self._kill),
            route("POST", "/sandboxes/{id}/timeout", self._set_timeout),
            route("POST", "/sandboxes/{id}/refreshes", self._refresh),
        ]

    def _create(self, version: int) -> Endpoint:
        async def create(request: Request) -> Response:
            creation = creation_in(await read_object(request), version=version)
            sandbox = await self._sandboxes.create(creation, request.headers.get("idempotency-key"))
            return JSONResponse(access(sandbox.record), 201)

        return create

    async def _kill(self, request: Request) -> Response:
        await self._sandboxes.kill(self._record(request))
        return Response(status_code=204)

    async def _set_timeout(self, request: Request) -> Response:
        seconds = timeout_in(await read_object(request), least=0)
        self._sandboxes.set_timeout(self._running(request), seconds)
        return Response(status_code=204)

    async def _refresh(self, request: Request) -> Response:
        duration = (await read_object(request)).get("duration", 0)
        self._sandboxes.extend(self._running(request), timeout_in({"timeout": duration}, least=0))
        return Response(status_code=204)
