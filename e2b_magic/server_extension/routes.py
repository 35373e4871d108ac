"""What all our routes share: who asks, whose worker answers, and a body of bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_server.auth import IdentityProvider
from jupyter_server.base.handlers import JupyterHandler
from tornado import web

from e2b_magic.server_extension.identity import KernelIdentity, identity_of
from e2b_magic.server_extension.users import UserWorker

if TYPE_CHECKING:
    from e2b_magic.server_extension.app import E2BMagicApp


class Route(JupyterHandler):
    """A route of ours; `allow_unauthenticated_access` or not, every method is for those who are let in."""

    auth_resource = "e2b-magic"

    @property
    def extension(self) -> E2BMagicApp:
        """The extension."""
        app: E2BMagicApp = self.settings["e2b_magic"]
        return app

    @property
    def identity_provider(self) -> IdentityProvider:
        """The server's identity provider, with one before it that knows our kernels."""
        return KernelIdentity(super().identity_provider, self.extension.tokens)  # type: ignore[return-value]  # it has all its methods

    @property
    def identity(self) -> str:
        """Who asks, by the name that sandboxes and limits are kept under."""
        return identity_of(super().identity_provider, self.current_user)

    @property
    def worker(self) -> UserWorker:
        """The worker of whoever asks."""
        return self.extension.workers.of(self.identity)


class BoundedBody(Route):
    """A route whose body is taken in as it comes, and only up to a size.

    Subclasses carry `tornado.web.stream_request_body`; without it tornado holds up to half a gigabyte in memory
    before anybody is asked who they are.
    """

    _largest = 0
    _size = 0

    def initialize(self, **options: Any) -> None:
        """Makes room for the body."""
        super().initialize(**options)
        self._parts: list[bytes] = []

    async def prepare(self) -> None:  # type: ignore[override]  # Jupyter's own says that it may give an awaitable
        """Asks who it is; a refusal is told when the body is through.

        On a refusal before that tornado closes the connection, and the client, still sending, might never read why.
        """
        self._largest = self.extension.limits.body_bytes
        try:
            await super().prepare()
        except web.HTTPError as error:
            self._largest = 0
            refusal = error

            def refuse(*arguments: str) -> None:
                raise refusal

            # In the method's place, so that nothing of it can run.
            setattr(self, str(self.request.method).lower(), refuse)

    def data_received(self, chunk: bytes) -> None:
        """Takes a piece of the body in; what is too much is let go."""
        self._size += len(chunk)
        if self._size <= self._largest:
            self._parts.append(chunk)

    def body(self) -> bytes:
        """Gives the whole body.

        Raises:
            HTTPError: 413, the body was too large.
        """
        if self._size > self._largest:
            raise web.HTTPError(
                413, f"A request may have at most {self._largest:,} bytes (E2BMagicApp.max_request_bytes)"
            )
        parts, self._parts = self._parts, []
        return b"".join(parts)
