"""The routes of what E2B has and this server does not.

They say so. A plain 404 would be told as one volume, or one secret, that is missing.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from e2b_magic.embedded.server.control.routes import Routes
from e2b_magic.embedded.server.protocol_errors import ProtocolError

_ONE_USER = "it serves one user on one machine"
# What E2B keeps beside sandboxes, and what there is in its stead.
_ABSENT = {
    "access-tokens": _ONE_USER,
    "api-keys": _ONE_USER,
    "nodes": _ONE_USER,
    "teams": _ONE_USER,
    "volumes": "a sandbox's files are kept while it is paused, and by snapshots",
    "secrets": "put a key into a sandbox's requests by `network.rules`; what it may see, give it by `envs`",
}


class Absent(Routes):
    """What is not here."""

    def routes(self) -> list[Route]:
        """Gives them."""
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        paths = [path for name in _ABSENT for path in (f"/{name}", f"/{name}/{{rest:path}}")]
        return [Route(path, self._refuse, methods=methods) for path in paths]

    async def _refuse(self, request: Request) -> Response:
        name = request.url.path.split("/")[1]
        raise ProtocolError(501, f"the embedded server has no {name}: {_ABSENT[name]}")
