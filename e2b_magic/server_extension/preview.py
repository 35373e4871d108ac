"""The preview's routes: a dev server in a sandbox, looked at through Jupyter.

`preview/<project>/<port>/<path>` is for whoever Jupyter has let in. A page that is to be shown is sent on to
`preview-<ticket>/<path>`: it runs at an opaque origin, so its own requests bring no cookie, and what opens the way
for them can only be part of the path. The ticket opens that one port and nothing else.

A dev server is told that path when it starts (`BASE_PATH`). Most live at their root nevertheless, and are asked for
what is below it; one that lives there redirects from its root to it, and from then on is asked for the whole path.

Either way `preview_headers` says what passes. What a request is answered with comes from the port that is dialled
inside the sandbox, by way of the E2B server; redirects are handed to the browser, never followed here.
"""

from __future__ import annotations

import asyncio
import http
import re
from typing import Any

import httpx
from jupyter_server.auth import IdentityProvider, User
from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.websocket import WebSocketHandler

from e2b_magic.exceptions import E2BMagicError, InvalidRequestError, RateLimitError, SandboxGoneError
from e2b_magic.sandboxes.ports import PortAddress
from e2b_magic.server_extension.preview_headers import POLICY, leads_below, moved, to_browser, to_sandbox
from e2b_magic.server_extension.preview_sockets import Relay
from e2b_magic.server_extension.routes import BoundedBody
from e2b_magic.server_extension.tokens import Ticket
from e2b_magic.worker.requests.base import PROJECT_NAME

_PAGES = ("document", "iframe", "frame", "embed", "object")
_STATUS = {InvalidRequestError: 400, SandboxGoneError: 404, RateLimitError: 429}
_PLACE = re.compile(r"(?P<prefix>.*?/e2b-magic/preview(?:/[^/?]+/\d+|-[^/?]+))(?P<rest>/.*)?", re.DOTALL)


class Preview(BoundedBody, WebSocketHandler):
    """What both routes share."""

    def initialize(self, **options: Any) -> None:
        """Nothing is under way yet."""
        super().initialize(**options)
        self._forwarding: asyncio.Task[None] | None = None
        self._relay: Relay | None = None

    @property
    def content_security_policy(self) -> str:
        """The page's policy, whatever the server is configured to send elsewhere."""
        return POLICY

    def set_default_headers(self) -> None:
        """Sends the policy with every answer, refusals included."""
        super().set_default_headers()
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")

    def get_login_url(self) -> str:
        """Refuses where Jupyter would send a stranger to its login page: no place for one within a page.

        Raises:
            HTTPError: 403.
        """
        raise web.HTTPError(403)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Says in a line of plain text why there is nothing to be seen."""
        error = kwargs.get("exc_info", (None, None))[1]
        reason = getattr(error, "log_message", None) or http.HTTPStatus(status_code).phrase
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{reason}\n")

    def ticket(self) -> Ticket:
        """Gives which port of which project is meant, and whose."""
        raise NotImplementedError

    def ticket_token(self) -> str:
        """Gives the ticket's token."""
        raise NotImplementedError

    async def answer(self) -> None:
        """Hands a request on to the sandbox, and its answer back."""
        if self.request.headers.get("Service-Worker"):
            raise web.HTTPError(403, "A preview may not install a service worker at Jupyter's origin")
        ticket, body = self.ticket(), self.body()
        try:
            with self.worker.previewing():
                address = await self.worker.port_address(ticket.project, ticket.port)
                if self.request.headers.get("Upgrade", "").lower() == "websocket":
                    await self._upgrade(address)
                else:
                    await self._forward(address, body)
        except E2BMagicError as error:
            # The text is an argument: a `%` in it is no format.
            raise web.HTTPError(_STATUS.get(type(error), 502), str(error).replace("%", "%%")) from None

    def place(self) -> tuple[str, str]:
        """Gives the preview's root at Jupyter's origin, and path and query below it, both as they were sent."""
        found = _PLACE.fullmatch(self.request.uri or "")
        if found is None:
            raise web.HTTPError(400, "This is no preview's path")
        return f"{found['prefix']}/", found["rest"] or "/"

    async def _forward(self, address: PortAddress, body: bytes) -> None:
        # In a task, for the browser's leaving to cancel.
        self._forwarding = asyncio.create_task(self._exchange(address, body))
        try:
            await self._forwarding
        except asyncio.CancelledError:
            if not self._forwarding.cancelled():
                raise
        except (httpx.HTTPError, httpx.InvalidURL):
            if not self._headers_written:
                raise web.HTTPError(502, "The server in the sandbox did not answer in HTTP") from None
            # Half an answer is out; a broken connection is the one sign left that it will not be whole.
            self.request.connection.stream.close()  # type: ignore[union-attr]  # tornado's connections have one

    def _path(self, rest: str) -> str:
        """Gives the path by which the server in the sandbox knows what is asked for."""
        token = self.ticket_token()
        if not self.extension.tokens.is_at_base(token):
            return rest
        return self.extension.preview_root(token) + rest.removeprefix("/")

    def _found_elsewhere(self, response: httpx.Response, rest: str) -> bool:
        """Whether an answer shows that the server lives elsewhere than where it was asked, which is kept."""
        token, tokens = self.ticket_token(), self.extension.tokens
        if tokens.is_at_base(token):
            elsewhere = rest == "/" and response.status_code == 404
        else:
            elsewhere = leads_below(response.headers.get("Location"), self.extension.preview_root(token))
        if elsewhere:
            tokens.found(token, at_base=not tokens.is_at_base(token))
        return elsewhere

    async def _ask(self, address: PortAddress, rest: str, body: bytes) -> httpx.Response:
        headers = [*to_sandbox(self.request.headers.get_all()), *address.headers.items()]
        if "accept-encoding" not in dict(headers):
            headers.append(("accept-encoding", "identity"))  # else httpx would ask for what the browser did not
        url = httpx.URL(address.url).copy_with(raw_path=self._path(rest).encode("latin-1"))
        client = self.extension.preview_client
        request = client.build_request(str(self.request.method), url, headers=headers, content=body or None)
        return await client.send(request, stream=True)

    async def _exchange(self, address: PortAddress, body: bytes) -> None:
        prefix, rest = self.place()
        response = await self._ask(address, rest, body)
        try:
            if self._found_elsewhere(response, rest):
                await response.aclose()
                response = await self._ask(address, rest, body)
            await self._answer_with(response, prefix, rest, address)
        finally:
            await response.aclose()
        self.finish()

    async def _answer_with(self, response: httpx.Response, prefix: str, rest: str, address: PortAddress) -> None:
        self.set_status(response.status_code)
        self.clear_header("Content-Type")
        given = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw]
        for name, value in to_browser(given):
            self.add_header(name, value)
        if (location := response.headers.get("Location")) is not None:
            self._move(location, rest, prefix, address)
        await self.flush()
        async for chunk in response.aiter_raw():
            self.write(chunk)
            await self.flush()

    def _move(self, location: str, rest: str, prefix: str, address: PortAddress) -> None:
        target = moved(
            location, self._path(rest), prefix, address.url, self.extension.preview_root(self.ticket_token())
        )
        if target is None:
            raise web.HTTPError(502, "The server in the sandbox redirects to somewhere else, which a preview may not")
        self.set_header("Location", target)

    async def _upgrade(self, address: PortAddress) -> None:
        origin = self.request.headers.get("Origin")
        if not self.check_origin(origin or ""):
            raise web.HTTPError(403, "A WebSocket from another origin is refused")
        _, rest = self.place()
        self._relay = Relay(self)
        try:
            await self._relay.dial(address, self._path(rest), to_sandbox(self.request.headers.get_all()))
            await WebSocketHandler.get(self)  # which returns when the browser's side is closed
        finally:
            await self._relay.close()

    def open(self, *arguments: str) -> None:
        """Begins to hand on what the sandbox says, once the browser's handshake is done."""
        if self._relay is not None:
            self._relay.begin()

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Gives the one that the server in the sandbox has chosen."""
        return self._relay.subprotocol if self._relay is not None else None

    async def on_message(self, message: str | bytes) -> None:
        """Hands a browser's message on; while it waits, the browser's next ones wait too."""
        if self._relay is not None:
            await self._relay.send(message)

    def on_connection_close(self) -> None:
        """Ends what is under way for a browser that has left."""
        super().on_connection_close()
        if self._forwarding is not None:
            self._forwarding.cancel()


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
        ticket = self.ticket()
        await self._check(ticket)
        _, rest = self.place()
        self.set_header("Cache-Control", "no-store")
        self.redirect(self.extension.preview_root(self.ticket_token()) + rest.removeprefix("/"))

    async def _check(self, ticket: Ticket) -> None:
        """Refuses a port that none can be, and a project without a sandbox, before a ticket is given out for it."""
        try:
            await self.worker.port_address(ticket.project, ticket.port)
        except E2BMagicError as error:
            raise web.HTTPError(_STATUS.get(type(error), 502), str(error).replace("%", "%%")) from None

    @web.authenticated
    @authorized
    async def post(self, *arguments: str) -> None:
        """Hands the request on."""
        await self.answer()

    head = put = patch = delete = post


class _Bearer(IdentityProvider):
    """Lets in whoever knows a ticket: the ticket's user, and as with any token neither XSRF nor Origin matter."""

    def __init__(self, ticket: Ticket | None) -> None:
        super().__init__()
        self._ticket = ticket

    async def get_user(self, handler: Any) -> User | None:
        return None if self._ticket is None else self._ticket.user

    def is_token_authenticated(self, handler: Any) -> bool:
        return self._ticket is not None

    def should_check_origin(self, handler: Any) -> bool:
        return self._ticket is None


@web.stream_request_body
class TicketRoute(Preview):
    """`preview-<ticket>/<path>`: for the page itself."""

    @property
    def identity_provider(self) -> IdentityProvider:
        """Knows tickets only: what else Jupyter would let in counts for nothing here."""
        return _Bearer(self.extension.tokens.ticket(self.path_args[0]))

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
