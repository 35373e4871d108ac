"""The routes that pause a sandbox and let it go on."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from e2b_magic.embedded.server.bodies import flag_in, read_object, timeout_in
from e2b_magic.embedded.server.control.answers import access
from e2b_magic.embedded.server.control.routes import Routes, route
from e2b_magic.embedded.server.protocol_errors import ProtocolError

# Seconds that a resumed sandbox lives where its client names none (E2B's figure).
_RESUMED = 15


class Pausing(Routes):
    """A sandbox's rest."""

    def routes(self) -> list[Route]:
        """Gives them."""
        return [
            route("POST", "/sandboxes/{id}/pause", self._pause),
            route("POST", "/sandboxes/{id}/resume", self._resume),
            route("POST", "/sandboxes/{id}/connect", self._connect),
            route("POST", "/v2/sandboxes/{id}/connect", self._connect),
        ]

    async def _pause(self, request: Request) -> Response:
        body = await read_object(request)
        memory = flag_in(body, "memory", otherwise=True)
        healthy = flag_in(body, "requireHealthyGuest", otherwise=False)
        await self._sandboxes.pauses.pause(self._record(request), memory=memory, healthy=healthy)
        return Response(status_code=204)

    async def _resume(self, request: Request) -> Response:
        body = await read_object(request)
        seconds = timeout_in({"timeout": body.get("timeout", _RESUMED)})
        record = self._record(request)
        if self._sandboxes.get(record.id) is not None:
            raise ProtocolError(409, f'sandbox "{record.id}" is running already')
        sandbox, _ = await self._sandboxes.pauses.connect(record, seconds)
        return JSONResponse(access(sandbox.record), 201)

    async def _connect(self, request: Request) -> Response:
        body = await read_object(request)
        seconds, memory = timeout_in(body), flag_in(body, "memory", otherwise=True)
        if self._sandboxes.ending(request.path_params["id"]):
            raise ProtocolError(409, "the sandbox is being killed")
        record = self._record(request)
        sandbox, resumed = await self._sandboxes.pauses.connect(record, seconds, memory=memory)
        return JSONResponse(access(sandbox.record), 201 if resumed else 200)
