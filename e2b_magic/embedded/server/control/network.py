"""The route that changes a live sandbox's way out."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from e2b_magic.embedded.server.bodies import read_object
from e2b_magic.embedded.server.control.routes import Routes, route
from e2b_magic.embedded.server.egress_proxy import check_proxy
from e2b_magic.embedded.server.network import change_in, internet_access_in, policy_of


class Network(Routes):
    """A sandbox's way out."""

    def routes(self) -> list[Route]:
        """Gives them."""
        return [route("PUT", "/sandboxes/{id}/network", self._change)]

    async def _change(self, request: Request) -> Response:
        body = await read_object(request)
        sandbox = self._running(request)
        network = change_in(body, sandbox.record.creation.network)
        access = internet_access_in(body)
        policy = policy_of(network, access)
        await check_proxy(sandbox.egress.gateway, policy)
        sandbox.record.creation = replace(sandbox.record.creation, network=network, allow_internet_access=access)
        sandbox.egress.change(policy)
        await self._sandboxes.trust(sandbox)
        return Response(status_code=204)
