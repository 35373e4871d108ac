"""The preview's routes: a dev server in a sandbox, looked at through Jupyter.

`preview/<project>/<port>/<path>` is for whoever Jupyter has let in. A page that is to be shown is sent on to
`preview-<ticket>/<path>`: it runs at an opaque origin, so its own requests bring no cookie, and what opens the way
for them can only be part of the path. The ticket opens that one port and nothing else.

Here is who may look. Both routes are a `preview_handler.Preview`, which hands a request on by a
`preview_exchange.Exchange` or a `preview_sockets.Relay`; `preview_headers` says which headers pass, and
`preview_place` by which path a server is asked. What a request is answered with comes from the port that is dialled
inside the sandbox, by way of the E2B server; redirects are handed to the browser, never followed here.
"""

from __future__ import annotations

from jupyter_server.auth import IdentityProvider
from jupyter_server.auth.decorator import authorized
from tornado import web

from e2b_magic.server_extension.identity import TicketIdentity
from e2b_magic.server_extension.preview_handler import Preview
from e2b_magic.server_extension.tokens import Ticket
from e2b_magic.worker.requests.base import PROJECT_NAME

_PAGES = ("document", "iframe", "frame", "embed", "object")


@web.stream_request_body
class ProjectRoute(Preview):
    """`preview/<project>/<port>/<path>`: for users that Jupyter has let in."""

    def ticket(self) -> Ticket:
        """See `Preview.ticket`."""
        return Ticket(self.current_user, self.path_args[0], int(self.path_args[1]))

    def ticket_token(self) -> str:
        """See `Preview.ticket_token`."""
        return self.extension.tokens.for_preview(self.identity, self.ticket())

    @web.authenticated
    @authorized
    async def get(self, *arguments: str) -> None:  # type: ignore[override]  # the decorators give an awaitable
        """Sends a page on to its ticket, and answers anything else."""
        asked_for = self.request.headers.get("Sec-Fetch-Dest")
        page = asked_for in _PAGES if asked_for else "text/html" in self.request.headers.get("Accept", "")
        if not page and arguments[2]:
            # As Jupyter's own file routes do: with a cookie alone, a script element of a page elsewhere on this host
            # could read what is served here.
            self.check_xsrf_cookie()
            await self.answer()
            return
        await self.address()  # refuses what none can be, before a ticket is given out for it
        await self._take_up()
        self.set_header("Cache-Control", "no-store")
        self.redirect(self.place().page)

    async def _take_up(self) -> None:
        """Looks, when a port is first looked at, whether a server there was told a ticket before Jupyter's restart."""
        ticket = self.ticket()
        if not self.extension.tokens.has_preview(self.identity, ticket):
            for base in await self.worker.told_bases(ticket.project, ticket.port):
                self.extension.take_up(self.identity, ticket, base)

    @web.authenticated
    @authorized
    async def post(self, *arguments: str) -> None:
        """Hands the request on."""
        await self.answer()

    head = put = patch = delete = post


@web.stream_request_body
class TicketRoute(Preview):
    """`preview-<ticket>/<path>`: for the page itself."""

    @property
    def identity_provider(self) -> IdentityProvider:
        """Knows tickets only: what else Jupyter would let in counts for nothing here."""
        return TicketIdentity(self.extension.tokens.ticket(self.path_args[0]))

    def ticket(self) -> Ticket:
        """See `Preview.ticket`."""
        ticket = self.extension.tokens.ticket(self.path_args[0])
        if ticket is None:
            raise web.HTTPError(403)
        return ticket

    def ticket_token(self) -> str:
        """See `Preview.ticket_token`."""
        return self.path_args[0]

    def set_cors_headers(self) -> None:
        """Lets the page itself, at its opaque origin, read what it asks for."""
        if self.request.headers.get("Origin") == "null":
            self.set_header("Access-Control-Allow-Origin", "null")
            self.set_header("Vary", "Origin")

    def check_origin(self, origin_to_satisfy_tornado: str = "") -> bool:
        """Whether a WebSocket comes from the page, or from no page."""
        return self.request.headers.get("Origin") in (None, "null")

    @web.authenticated
    @authorized
    async def get(self, *arguments: str) -> None:  # type: ignore[override]  # the decorators give an awaitable
        """Hands the request on."""
        await self.answer()

    @web.authenticated
    @authorized
    async def post(self, *arguments: str) -> None:
        """Hands the request on."""
        await self.answer()

    head = put = patch = delete = post

    @web.authenticated
    @authorized
    async def options(self, *arguments: str) -> None:
        """Answers the browser's question whether the page may ask its own server."""
        wanted = self.request.headers
        self.set_header("Access-Control-Allow-Methods", wanted.get("Access-Control-Request-Method", "GET"))
        self.set_header("Access-Control-Allow-Headers", wanted.get("Access-Control-Request-Headers", ""))
        self.set_status(204)
        self.finish()


ROUTES = [
    (rf"/e2b-magic/preview/({PROJECT_NAME.pattern})/(\d{{1,5}})(/.*)?", ProjectRoute),
    (r"/e2b-magic/preview-([A-Za-z0-9_-]{20,64})(/.*)?", TicketRoute),
]
