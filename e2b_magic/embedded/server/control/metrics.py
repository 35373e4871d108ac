"""The routes that tell what sandboxes use."""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.server.control.answers import rfc3339
from e2b_magic.embedded.server.control.routes import Routes, route
from e2b_magic.embedded.server.live import LiveSandbox
from e2b_magic.embedded.server.metrics import Metrics, Sample
from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.sandboxes import Sandboxes

# How many one request may ask for (E2B's OpenAPI file).
_MOST = 100


class Measuring(Routes):
    """What sandboxes use.

    Args:
        sandboxes: The sandboxes they are about.
        metrics: What is known of them.
    """

    def __init__(self, sandboxes: Sandboxes, metrics: Metrics) -> None:
        super().__init__(sandboxes)
        self._metrics = metrics

    def routes(self) -> list[Route]:
        """Gives them."""
        return [
            # In this order, since `/sandboxes/metrics` would else name a sandbox.
            route("GET", "/sandboxes/metrics", self._latest),
            route("GET", "/sandboxes/{id}/metrics", self._history),
        ]

    async def _latest(self, request: Request) -> Response:
        wanted = [name for name in request.query_params.get("sandbox_ids", "").split(",") if name]
        if not wanted or len(wanted) > _MOST:
            raise ProtocolError(400, f"sandbox_ids must name 1 to {_MOST} sandboxes, separated by commas")
        found = {}
        for sandbox_id in wanted:
            sandbox = self._sandboxes.get(sandbox_id)
            if sandbox is not None and (samples := await self._metrics.of(sandbox)):
                found[sandbox_id] = _description(sandbox, samples[-1], self._sandboxes.limits)
        return JSONResponse({"sandboxes": found})

    async def _history(self, request: Request) -> Response:
        start, end = _second_in(request.query_params, "start"), _second_in(request.query_params, "end")
        if start is not None and end is not None and start > end:
            raise ProtocolError(400, f"start must not be after end: {start} is after {end}")
        sandbox = self._running(request)
        return JSONResponse(
            [
                _description(sandbox, sample, self._sandboxes.limits)
                for sample in await self._metrics.of(sandbox)
                # By whole seconds, as E2B's clients cut them.
                if (start is None or int(sample.time) >= start) and (end is None or int(sample.time) <= end)
            ]
        )


def _second_in(parameters: Mapping[str, str], name: str) -> int | None:
    text = parameters.get(name)
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,18}", text):
        raise ProtocolError(400, f"{name} must be seconds since 1970, a whole number, not {reprlib.repr(text)}")
    return int(text)


def _description(sandbox: LiveSandbox, sample: Sample, limits: Limits) -> dict[str, Any]:
    """Gives a sample as E2B tells it."""
    return {
        "timestamp": rfc3339(sample.time),
        "timestampUnix": int(sample.time),
        "cpuCount": limits.cpu_count,
        "cpuUsedPct": sample.cpu_percent,
        "memUsed": sample.memory,
        "memTotal": limits.memory_total,
        "memCache": sample.cache,
        "diskUsed": sample.disk,
        "diskTotal": limits.disk_bytes or _size_of_disk(sandbox),
    }


def _size_of_disk(sandbox: LiveSandbox) -> int:
    told = os.statvfs(sandbox.record.directory)
    return told.f_blocks * told.f_frsize
