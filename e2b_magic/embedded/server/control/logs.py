"""The routes that tell what happened to a sandbox."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from e2b_magic.embedded.server.control.answers import rfc3339
from e2b_magic.embedded.server.control.routes import Routes, route
from e2b_magic.embedded.server.log import LEVELS, MOST, Entry
from e2b_magic.embedded.server.protocol_errors import ProtocolError

_LONGEST_SEARCH = 256


class Logs(Routes):
    """What happened to a sandbox."""

    def routes(self) -> list[Route]:
        """Gives them."""
        return [
            route("GET", "/sandboxes/{id}/logs", self._first),
            route("GET", "/v2/sandboxes/{id}/logs", self._second),
        ]

    async def _first(self, request: Request) -> Response:
        start, limit = _number_in(request.query_params, "start", 0), _number_in(request.query_params, "limit", MOST)
        entries = [one for one in self._record(request).log if one.time * 1000 >= start][:limit]
        lines = [{"timestamp": rfc3339(one.time), "line": json.dumps(_description(one))} for one in entries]
        return JSONResponse({"logs": lines, "logEntries": [_description(one) for one in entries]})

    async def _second(self, request: Request) -> Response:
        query = request.query_params
        direction, level, search = query.get("direction", "forward"), query.get("level", "debug"), query.get("search")
        if direction not in ("forward", "backward"):
            raise ProtocolError(400, "direction must be forward or backward")
        if level not in LEVELS:
            raise ProtocolError(400, f"level must be one of {', '.join(LEVELS)}")
        if search is not None and len(search) > _LONGEST_SEARCH:
            raise ProtocolError(400, f"search must not be longer than {_LONGEST_SEARCH} characters")
        cursor, limit = _number_in(query, "cursor", None), _number_in(query, "limit", MOST)
        entries = [
            one
            for one in self._record(request).log
            if LEVELS.index(one.level) >= LEVELS.index(level) and (search or "") in one.message
        ]
        if direction == "backward":
            entries.reverse()
        if cursor is not None:
            backward = direction == "backward"
            entries = [one for one in entries if (one.time * 1000 <= cursor if backward else one.time * 1000 >= cursor)]
        return JSONResponse({"logs": [_description(one) for one in entries[: min(limit or 0, MOST)]]})


def _number_in(parameters: Mapping[str, str], name: str, otherwise: Any) -> Any:
    text = parameters.get(name)
    if text is None:
        return otherwise
    if not re.fullmatch("[0-9]{1,18}", text):
        raise ProtocolError(400, f"{name} must be a whole number")
    return int(text)


def _description(entry: Entry) -> dict[str, Any]:
    return {
        "timestamp": rfc3339(entry.time),
        "level": entry.level,
        "message": entry.message,
        "fields": dict(entry.fields),
    }
