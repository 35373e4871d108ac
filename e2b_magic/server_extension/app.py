"""`E2BMagicApp`: what Jupyter loads, its settings, and how the parts are put together."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlunsplit

from jupyter_server.auth import User
from jupyter_server.extension.application import ExtensionApp
from traitlets import Enum, Float, Int, Unicode

from e2b_magic.config import Configuration, Worker, WorkerToken, from_environment
from e2b_magic.exceptions import ConfigurationError
from e2b_magic.server_extension import preview, worker_routes
from e2b_magic.server_extension.environment import TAKEN, take_settings
from e2b_magic.server_extension.garbage import leave_out_what_is_there
from e2b_magic.server_extension.identity import OWNER, identity_of
from e2b_magic.server_extension.kernels import equip_kernels
from e2b_magic.server_extension.redaction import Redactor
from e2b_magic.server_extension.tokens import Ticket, Tokens
from e2b_magic.server_extension.users import Limits, UserWorker, UserWorkers
from e2b_magic.worker.requests.base import PROJECT_NAME

if TYPE_CHECKING:
    import httpx

_EVERYWHERE = ("", "0.0.0.0", "::", "*")  # noqa: S104  these are compared with, not listened on


class E2BMagicApp(ExtensionApp):
    """E2B sandboxes for the users of this Jupyter server, with a key that none of their kernels holds."""

    name = "e2b_magic"
    load_other_extensions = True

    kernel_url = Unicode(
        "",
        help="The URL, base URL included, at which kernels reach this server; its loopback address when empty.",
    ).tag(config=True)
    max_requests = Int(64, min=1, help="How many requests of one user may be at work at once.").tag(config=True)
    max_sandboxes = Int(20, min=1, help="How many sandboxes one user may have at once.").tag(config=True)
    max_seconds = Float(
        0, min=0, help="How many seconds a request may take before it is ended; 0 for as long as it likes."
    ).tag(config=True)
    max_request_bytes = Int(32 * 1024 * 1024, min=1024, help="How many bytes a request may have.").tag(config=True)
    max_previews = Int(
        200, min=1, help="How many of a preview's requests and WebSockets one user may have open at once."
    ).tag(config=True)

    preview_route = Enum(
        ["auto", "always", "never"],
        "auto",
        help="Whether a preview is shown through this server's own route, and not at the sandbox's own origin on this "
        "machine: for browsers elsewhere. `auto`: when the server can be reached from elsewhere.",
    ).tag(config=True)

    def initialize_settings(self) -> None:
        """Takes the key, and puts everything together; Jupyter calls this once, before any kernel starts."""
        assert self.serverapp is not None  # noqa: S101  Jupyter has set it
        self.redactor = Redactor()
        self.tokens = Tokens(self.serverapp.cookie_secret)
        self.limits = Limits(
            requests=self.max_requests,
            sandboxes=self.max_sandboxes,
            seconds=self.max_seconds,
            body_bytes=self.max_request_bytes,
            previews=self.max_previews,
        )
        self.configuration = self._configure()
        self.workers = UserWorkers(self._worker_of)
        self._making_client: asyncio.Task[httpx.AsyncClient] | None = None
        self._watch_logs()
        equip_kernels(self.serverapp.kernel_manager, self._kernel_variables)

    def initialize_handlers(self) -> None:
        """Gives Jupyter our routes."""
        self.handlers.extend([*worker_routes.ROUTES, *preview.ROUTES])

    async def preview_client(self) -> httpx.AsyncClient:
        """Gives what asks the servers in sandboxes, made at the first call."""
        # One task, whoever else asks meanwhile; shielded from a browser that leaves.
        if self._making_client is None:
            self._making_client = asyncio.create_task(asyncio.to_thread(_new_preview_client))
            self._making_client.add_done_callback(self._forget_failed)
        return await asyncio.shield(self._making_client)

    def _forget_failed(self, making: asyncio.Task[httpx.AsyncClient]) -> None:
        if making.cancelled() or making.exception() is not None:
            self._making_client = None

    async def _start_jupyter_server_extension(self, serverapp: object) -> None:
        # Again, since handlers of the log may have come with other extensions.
        self._watch_logs()
        leave_out_what_is_there()

    async def stop_extension(self) -> None:
        """Ends what is at work; sandboxes live on until their time is over."""
        await self.workers.close()
        if (making := self._making_client) is not None:
            await asyncio.wait([making])
            if not making.cancelled() and making.exception() is None:
                await making.result().aclose()

    def _configure(self) -> Configuration:
        settings = take_settings(os.environ)
        if key := settings.get("E2B_API_KEY"):
            self.redactor.hide(key)
        try:
            configuration = from_environment(settings)
        except ConfigurationError as error:
            # The server must start whatever is set for us; without what leads to E2B there is the embedded server.
            self.log.error("e2b-magic: %s. Until then sandboxes are on this machine", error)  # noqa: TRY400  no traceback
            configuration = _embedded(settings)
        return replace(configuration, sandbox_limit=self.max_sandboxes, preview_route=self._preview_route())

    def _preview_route(self) -> str | None:
        assert self.serverapp is not None  # noqa: S101  Jupyter has set it
        server = self.serverapp
        # JupyterHub's servers listen on loopback too, behind its proxy.
        elsewhere = server.allow_remote_access or bool(server.sock) or "JUPYTERHUB_SERVICE_PREFIX" in os.environ
        if self.preview_route == "never" or (self.preview_route == "auto" and not elsewhere):
            return None
        return f"{server.base_url.rstrip('/')}/e2b-magic/preview"

    def preview_root(self, token: str) -> str:
        """Gives the path below which a preview's page lies, with a slash at its end."""
        assert self.serverapp is not None  # noqa: S101  Jupyter has set it
        return f"{self.serverapp.base_url.rstrip('/')}/e2b-magic/preview-{token}/"

    def take_up(self, identity: str, ticket: Ticket, base: str) -> None:
        """Lets a dev server that was started before this server go on at the path that it was told, if it was.

        Args:
            identity: Whose sandbox it is in.
            ticket: The port that it serves.
            base: The path that it says it was told.
        """
        before, after = self.preview_root("\0").split("\0")
        if base.startswith(before) and base.endswith(after):
            self.tokens.take_up(identity, ticket, base[len(before) : -len(after)])

    def base_for(self, identity: str, user: User, project: object, port: object) -> str | None:
        """Gives the path under which a browser will see a server that is about to start; None where it is the root.

        Args:
            identity: Whose sandbox it starts in.
            user: The same, as Jupyter knows them.
            project: The project's name, as it was asked for.
            port: The port, as it was asked for.
        """
        named = isinstance(project, str) and PROJECT_NAME.fullmatch(project)
        if self.configuration.preview_route is None or not named or not isinstance(port, int):
            return None  # what cannot be meant is refused where requests are read
        token = self.tokens.for_preview(identity, Ticket(user, str(project), port))
        self.tokens.found(token, at_base=False)  # whatever was there before
        return self.preview_root(token)

    def _watch_logs(self) -> None:
        names = ("", "tornado.access", "tornado.application", "tornado.general", "e2b_magic")
        self.redactor.watch(self.log, *(logging.getLogger(name or None) for name in names))
        assert self.serverapp is not None  # noqa: S101  Jupyter has set it
        if isinstance(self.serverapp.log, logging.Logger):
            self.redactor.watch(self.serverapp.log)

    def _worker_of(self, identity: str) -> UserWorker:
        # The owner is whoever runs the server: the same sandboxes as without a server.
        own = self.configuration if identity == OWNER else replace(self.configuration, user=identity, shared=True)
        return UserWorker(own, self.limits, self.redactor, self.log)

    def _kernel_variables(self, user: User | None) -> dict[str, str]:
        """Gives what a kernel finds the worker with; nothing where it is not known whose kernel it is."""
        assert self.serverapp is not None  # noqa: S101  Jupyter has set it
        provider = self.serverapp.identity_provider
        identity = OWNER if user is None else identity_of(provider, user)
        bearer = user or User(OWNER)
        if user is None and identity_of(provider, bearer) != OWNER:
            return {}
        token = self.tokens.for_kernels(identity, bearer)
        url = self.kernel_url or self._loopback_url()
        try:
            worker = Worker(url, WorkerToken(token), self.configuration.backend)
        except ConfigurationError as error:
            self.log.warning("e2b-magic: kernels are given no worker: %s, or E2BMagicApp.kernel_url", error)
            return {}
        return {
            "E2B_MAGIC_WORKER_URL": worker.url,
            "E2B_MAGIC_WORKER_TOKEN": token,
            "E2B_MAGIC_WORKER_BACKEND": worker.backend,
            "E2B_MAGIC_USER": self.workers.of(identity).configuration.user,
        }

    def _loopback_url(self) -> str:
        assert self.serverapp is not None  # noqa: S101  Jupyter has set it
        server = self.serverapp
        if server.sock:
            return ""  # which no Worker takes: the kernels' client speaks TCP
        host = "127.0.0.1" if server.ip in _EVERYWHERE else server.ip
        netloc = f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"
        return urlunsplit(("https" if server.certfile else "http", netloc, server.base_url, "", ""))


def _embedded(settings: Mapping[str, str]) -> Configuration:
    """Gives the embedded server in the directory where this user's kernels look for it too, if that can be one."""
    try:
        return from_environment({name: value for name, value in settings.items() if name not in TAKEN})
    except ConfigurationError:
        return from_environment({name: value for name, value in settings.items() if not name.startswith("E2B_")})


def _new_preview_client() -> httpx.AsyncClient:
    # Imported here and called in a thread: its imports, and the system's certificates, take a while.
    from e2b_magic.server_extension.preview_exchange import new_client

    return new_client()
