"""The routes that copy sandboxes: forks and snapshots."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from e2b_magic.embedded.server.bodies import flag_in, read_object, timeout_in
from e2b_magic.embedded.server.control.answers import access
from e2b_magic.embedded.server.control.routes import Routes, route
from e2b_magic.embedded.server.copies import fork, take_snapshot
from e2b_magic.embedded.server.live import LiveSandbox
from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.snapshots import Snapshot
from e2b_magic.embedded.server.templates import BASE

# Seconds that a fork lives where its client names none, and how many one request may ask for (E2B's figures).
_FORKED = 15
_MOST_FORKS = 100
_LARGEST_PAGE = 100


class Copying(Routes):
    """Copying sandboxes."""

    def routes(self) -> list[Route]:
        """Gives them."""
        return [
            route("POST", "/sandboxes/{id}/fork", self._fork),
            route("POST", "/sandboxes/{id}/snapshots", self._take),
            route("GET", "/snapshots", self._list),
            # A path, since a snapshot's full name holds a slash, which comes encoded and is decoded before this.
            route("DELETE", "/templates/{reference:path}", self._delete),
        ]

    async def _fork(self, request: Request) -> Response:
        body = await read_object(request)
        seconds, count = timeout_in({"timeout": body.get("timeout", _FORKED)}), body.get("count", 1)
        if type(count) is not int or not 1 <= count <= _MOST_FORKS:
            raise ProtocolError(400, f"count must be a whole number from 1 to {_MOST_FORKS}")
        record = self._record(request)
        outcomes = await fork(self._sandboxes, record, count=count, seconds=seconds)
        return JSONResponse([_outcome(one) for one in outcomes], 201)

    async def _take(self, request: Request) -> Response:
        body = await read_object(request)
        name = body.get("name")
        if name is not None and not isinstance(name, str):
            raise ProtocolError(400, "name must be text")
        flag_in(body, "memory", otherwise=True)
        snapshot = await take_snapshot(self._sandboxes, self._record(request), name or None)
        return JSONResponse(_description(snapshot), 201)

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        limit = query.get("limit", str(_LARGEST_PAGE))
        if not re.fullmatch("[0-9]{1,9}", limit) or not 1 <= int(limit) <= _LARGEST_PAGE:
            raise ProtocolError(400, f"limit must be from 1 to {_LARGEST_PAGE}")
        begin = _offset_in(query.get("nextToken"))
        found = self._sandboxes.snapshots.listed(query.get("sandboxID"), query.get("name"))
        page = found[begin : begin + int(limit)]
        end = begin + len(page)
        headers = {"X-Next-Token": _token(end)} if end < len(found) else None
        return JSONResponse([_description(one) for one in page], headers=headers)

    async def _delete(self, request: Request) -> Response:
        reference = request.path_params["reference"]
        if reference in (BASE, f"{BASE}:default"):
            raise ProtocolError(400, f"template '{BASE}' is the server's own and cannot be deleted")
        if not await self._sandboxes.snapshots.delete(reference):
            raise ProtocolError(404, f"template '{reference}' not found")
        return Response(status_code=204)


def _outcome(outcome: LiveSandbox | ProtocolError) -> dict[str, Any]:
    if isinstance(outcome, ProtocolError):
        return {"error": {"code": outcome.status, "message": outcome.message}}
    return {"sandbox": access(outcome.record)}


def _description(snapshot: Snapshot) -> dict[str, Any]:
    return {"snapshotID": snapshot.reference, "names": snapshot.names}


def _token(offset: int) -> str:
    return base64.urlsafe_b64encode(str(offset).encode()).decode()


def _offset_in(token: str | None) -> int:
    if not token:
        return 0
    try:
        text = base64.urlsafe_b64decode(token).decode()
    except (binascii.Error, ValueError) as error:
        raise ProtocolError(400, "nextToken is not one that this server gave") from error
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ProtocolError(400, "nextToken is not one that this server gave")
    return int(text)
