"""What the preview's routes share: the policy of every answer, and the way on to the sandbox, HTTP or WebSocket."""

from __future__ import annotations

import http
from typing import TYPE_CHECKING, Any

from tornado import web
from tornado.websocket import WebSocketHandler

from e2b_magic.exceptions import E2BMagicError, InvalidRequestError, RateLimitError, SandboxGoneError
from e2b_magic.server_extension.preview_headers import POLICY, to_sandbox
from e2b_magic.server_extension.preview_place import Place
from e2b_magic.server_extension.preview_sockets import Relay
from e2b_magic.server_extension.routes import BoundedBody
from e2b_magic.server_extension.tokens import Ticket

if TYPE_CHECKING:
    from e2b_magic.sandboxes.ports import PortAddress
    from e2b_magic.server_extension.preview_exchange import Exchange

_STATUS = {InvalidRequestError: 400, SandboxGoneError: 404, RateLimitError: 429}


class Preview(BoundedBody, WebSocketHandler):
    """What a browser asks of a server in a sandbox."""

    def initialize(self, **options: Any) -> None:
        """Nothing is under way yet."""
        super().initialize(**options)
        self._exchange: Exchange | None = None
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
        # With its arguments put in, of which there may be none: then each `%` of the text is two in it.
        said = error.log_message % error.args if isinstance(error, web.HTTPError) and error.log_message else ""
        reason = said or http.HTTPStatus(status_code).phrase
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{reason}\n")

    def ticket(self) -> Ticket:
        """Gives which port of which project is meant, and whose."""
        raise NotImplementedError

    def ticket_token(self) -> str:
        """Gives the ticket's token."""
        raise NotImplementedError

    def place(self) -> Place:
        """Gives what is asked for.

        Raises:
            HTTPError: 400, the path is no preview's.
        """
        token = self.ticket_token()
        root = self.extension.preview_root(token)
        place = Place.asked(self.request.uri or "", root, token, self.extension.tokens)
        if place is None:
            raise web.HTTPError(400, "This is no preview's path")
        return place

    async def address(self) -> PortAddress:
        """Gives where the port is reached.

        Raises:
            HTTPError: None can be, or the project has no sandbox.
        """
        ticket = self.ticket()
        try:
            return await self.worker.port_address(ticket.project, ticket.port)
        except E2BMagicError as error:
            raise refusal(error) from None

    async def answer(self) -> None:
        """Hands a request on to the sandbox, and its answer back."""
        if self.request.headers.get("Service-Worker"):
            raise web.HTTPError(403, "A preview may not install a service worker at Jupyter's origin")
        body = self.body()
        try:
            with self.worker.previewing():
                address = await self.address()
                if self.request.headers.get("Upgrade", "").lower() == "websocket":
                    await self._upgrade(address)
                else:
                    await self._forward(address, body)
        except E2BMagicError as error:
            raise refusal(error) from None

    async def _forward(self, address: PortAddress, body: bytes) -> None:
        client = await self.extension.preview_client()
        # Imported here, since it imports the SDK, which by now is there.
        from e2b_magic.server_extension.preview_exchange import Exchange

        self._exchange = Exchange(self, client, address, self.place())
        await self._exchange.run(body)

    async def _upgrade(self, address: PortAddress) -> None:
        origin = self.request.headers.get("Origin")
        if not self.check_origin(origin or ""):
            raise web.HTTPError(403, "A WebSocket from another origin is refused")
        self._relay = Relay(self)
        try:
            await self._relay.dial(address, self.place().path, to_sandbox(self.request.headers.get_all()))
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
        if self._exchange is not None:
            self._exchange.leave()


def refusal(error: E2BMagicError) -> web.HTTPError:
    """Gives what a browser is told of an error."""
    # The text is an argument: a `%` in it is no format.
    return web.HTTPError(_STATUS.get(type(error), 502), "%s", str(error))
