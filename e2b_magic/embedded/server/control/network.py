"""The route that changes a live sandbox's way out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from e2b_magic.embedded.server.bodies import read_object
from e2b_magic.embedded.server.control.routes import Routes, route
from e2b_magic.embedded.server.egress_proxy import check_proxy
from e2b_magic.embedded.server.live import LiveSandbox
from e2b_magic.embedded.server.network import change_in, internet_access_in, policy_of


class Network(Routes):
    """A sandbox's way out."""

    def routes(self) -> list[Route]:
        """Gives them."""
        return [route("PUT", "/sandboxes/{id}/network", self._change)]

    async def _change(self, request: Request) -> Response:
        body = await read_object(request)
        # Held throughout: a proxy's name may be long in being looked up, and what is paused or changed meanwhile would
        # be resumed with the old rules, or put in the place of newer ones.
        async with self._running(request).record.changing:
            await self._put_in_force(body, self._running(request))
        return Response(status_code=204)

    async def _put_in_force(self, body: Mapping[str, Any], sandbox: LiveSandbox) -> None:
        record = sandbox.record
        network = change_in(body, record.creation.network)
        access = internet_access_in(body)
        policy = policy_of(network, access)
        await check_proxy(sandbox.egress.gateway, policy)
        if self._sandboxes.get(record.id) is not sandbox:  # killed meanwhile, for which nobody waits
            raise self._sandboxes.missing(record.id)
        record.creation = replace(record.creation, network=network, allow_internet_access=access)
        sandbox.egress.change(policy)
        await self._sandboxes.trust(sandbox)
