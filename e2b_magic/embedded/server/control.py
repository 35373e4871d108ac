"""E2B's control routes: sandboxes are created, found, listed, extended and killed here.

A route reads and checks its request, calls `Sandboxes`, and describes what came of it. Routes that E2B has and this
server does not are answered with 501 and what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from e2b_magic.embedded.containment.limits import MEBIBYTE
from e2b_magic.embedded.server.creation import TEMPLATE, creation_in, not_yet, read_object, timeout_in
from e2b_magic.embedded.server.envd import ENVD_VERSION
from e2b_magic.embedded.server.listing import Query
from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.sandboxes import LiveSandbox, Sandboxes
from e2b_magic.embedded.server.tokens import equal

# Names the one machine that all sandboxes of this server run on; E2B's clients only hand it back.
_CLIENT_ID = "embedded"

_Endpoint = Callable[[Request], Awaitable[Response]]

_NOT_YET = {
    ("POST", "/sandboxes/{id}/pause"): "pause a sandbox",
    ("POST", "/sandboxes/{id}/resume"): "resume a sandbox",
    ("POST", "/sandboxes/{id}/fork"): "fork a sandbox",
    ("POST", "/sandboxes/{id}/snapshots"): "take a snapshot",
    ("GET", "/snapshots"): "list snapshots",
    ("GET", "/sandboxes/metrics"): "measure sandboxes",
    ("GET", "/sandboxes/{id}/metrics"): "measure a sandbox",
    ("PUT", "/sandboxes/{id}/network"): "change a sandbox's network",
    ("GET", "/sandboxes/{id}/logs"): "show a sandbox's log",
    ("GET", "/v2/sandboxes/{id}/logs"): "show a sandbox's log",
}


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _megabytes(size: int | None, otherwise: int) -> int:
    return (otherwise if size is None else size) // MEBIBYTE


class Control:
    """The control routes.

    Args:
        sandboxes: The sandboxes they are about.
        api_key: The key that every request must carry.
    """

    def __init__(self, sandboxes: Sandboxes, api_key: str) -> None:
        self._sandboxes = sandboxes
        self._api_key = api_key
        self._router = Router(self._routes(), redirect_slashes=False, default=_no_route)

    def _routes(self) -> list[Route]:
        def route(method: str, path: str, endpoint: _Endpoint) -> Route:
            return Route(path, endpoint, methods=[method])

        missing = [route(method, path, _refusal(what)) for (method, path), what in _NOT_YET.items()]
        return [
            *missing,
            route("POST", "/sandboxes", self._create(1)),
            route("POST", "/v2/sandboxes", self._create(2)),
            route("GET", "/sandboxes", self._list),
            route("GET", "/v2/sandboxes", self._list),
            route("GET", "/sandboxes/{id}", self._details),
            route("DELETE", "/sandboxes/{id}", self._kill),
            route("POST", "/sandboxes/{id}/connect", self._connect),
            route("POST", "/v2/sandboxes/{id}/connect", self._connect),
            route("POST", "/sandboxes/{id}/timeout", self._set_timeout),
            route("POST", "/sandboxes/{id}/refreshes", self._refresh),
            route("GET", "/templates/aliases/{alias}", self._alias),
            # Not E2B's: what `e2b_magic.embedded.runtime` asks.
            route("GET", "/e2b-magic/status", self._status),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, if it carries the key."""
        if not equal(Request(scope).headers.get("x-api-key"), self._api_key):
            raise ProtocolError(401, "the X-API-Key header must hold the embedded server's API key")
        await self._router(scope, receive, send)

    def _find(self, request: Request) -> LiveSandbox:
        sandbox_id = request.path_params["id"]
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            raise ProtocolError(404, f"sandbox \"{sandbox_id}\" doesn't exist or you don't have access to it")
        return sandbox

    def _create(self, version: int) -> _Endpoint:
        async def create(request: Request) -> Response:
            creation = creation_in(await read_object(request), version=version)
            sandbox = await self._sandboxes.create(creation, request.headers.get("idempotency-key"))
            return JSONResponse(_answer(sandbox), 201)

        return create

    async def _connect(self, request: Request) -> Response:
        seconds = timeout_in(await read_object(request))
        if self._sandboxes.ending(request.path_params["id"]):
            raise ProtocolError(409, "the sandbox is being killed")
        sandbox = self._find(request)
        self._sandboxes.extend(sandbox, seconds)
        return JSONResponse(_answer(sandbox), 200)

    async def _list(self, request: Request) -> Response:
        page, token = Query.from_parameters(request.query_params).page(self._sandboxes)
        headers = {"X-Next-Token": token} if token is not None else None
        return JSONResponse([self._description(sandbox) for sandbox in page], headers=headers)

    async def _details(self, request: Request) -> Response:
        sandbox = self._find(request)
        further = {
            "envdAccessToken": sandbox.token,
            "allowInternetAccess": sandbox.creation.allow_internet_access,
            "lifecycle": {"autoResume": False, "onTimeout": "kill"},
            "domain": None,
        }
        if sandbox.creation.network is not None:
            further["network"] = dict(sandbox.creation.network)
        return JSONResponse({**self._description(sandbox), **further})

    async def _kill(self, request: Request) -> Response:
        await self._sandboxes.end(self._find(request))
        return Response(status_code=204)

    async def _set_timeout(self, request: Request) -> Response:
        seconds = timeout_in(await read_object(request), least=0)
        self._sandboxes.set_timeout(self._find(request), seconds)
        return Response(status_code=204)

    async def _refresh(self, request: Request) -> Response:
        duration = (await read_object(request)).get("duration", 0)
        self._sandboxes.extend(self._find(request), timeout_in({"timeout": duration}, least=0))
        return Response(status_code=204)

    async def _alias(self, request: Request) -> Response:
        alias = request.path_params["alias"]
        if alias != TEMPLATE:
            raise ProtocolError(404, f"template '{alias}' not found")
        return JSONResponse({"templateID": TEMPLATE, "public": True})

    async def _status(self, request: Request) -> Response:
        return JSONResponse({"sandboxes": len(self._sandboxes)})

    def _description(self, sandbox: LiveSandbox) -> dict[str, Any]:
        limits = self._sandboxes.limits
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return {
            **_identity(sandbox),
            "startedAt": _rfc3339(sandbox.started_at),
            "endAt": _rfc3339(sandbox.ends_at),
            "state": "running",
            "metadata": dict(sandbox.creation.metadata),
            "cpuCount": os.cpu_count() or 1,
            "memoryMB": _megabytes(limits.memory_bytes, memory),
            "diskSizeMB": _megabytes(limits.disk_bytes, 0),
        }


def _identity(sandbox: LiveSandbox) -> dict[str, Any]:
    """Gives the fields that every answer about a sandbox begins with."""
    return {
        "sandboxID": sandbox.id,
        "templateID": sandbox.creation.template,
        "alias": sandbox.creation.template,
        "clientID": _CLIENT_ID,
        "envdVersion": ENVD_VERSION,
    }


def _answer(sandbox: LiveSandbox) -> dict[str, Any]:
    """Gives what the creator of a sandbox is told, and who connects to it."""
    return {
        **_identity(sandbox),
        "envdAccessToken": sandbox.token,
        "trafficAccessToken": None if sandbox.public else sandbox.traffic_token,
        "domain": None,
    }


def _refusal(what: str) -> _Endpoint:
    async def refuse(request: Request) -> Response:
        raise not_yet(what)

    return refuse


async def _no_route(scope: Scope, receive: Receive, send: Send) -> None:
    raise ProtocolError(404, f"the embedded server has no route {scope['method']} {scope['path']}")
