"""Which sandbox, and which port of it, a request is for.

The SDKs say so in two headers; a browser by the host name, `<port>-<sandbox id>.localhost`; and a signed file's URL
by nothing but a signature that one sandbox's token must fit. All else is for the control routes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from e2b_magic.embedded.server.connections import transport_of
from e2b_magic.embedded.server.envd import ENVD_PORT
from e2b_magic.embedded.server.files import signature_of
from e2b_magic.embedded.server.live import LiveSandbox
from e2b_magic.embedded.server.ports import forward
from e2b_magic.embedded.server.protocol_errors import ProtocolError, sandbox_not_found
from e2b_magic.embedded.server.sandboxes import Sandboxes
from e2b_magic.embedded.server.tokens import equal

# `api.` and `sandbox.` are what the SDKs put before a domain, as of `E2B_DOMAIN=localhost` with TLS in front.
_HOST = re.compile(r"(?:127\.0\.0\.1|(?:(?:api|sandbox|(\d{1,5})-([a-z0-9-]+))\.)?localhost)(?::\d{1,5})?")


@dataclass(frozen=True, slots=True)
class Target:
    """A port of a sandbox."""

    sandbox_id: str
    port: int


class MissingHeaderError(Exception):
    """One of the two routing headers came without the other."""


def target_of(headers: Headers) -> Target | None:
    """Gives the port of a sandbox that a request is for, or None for none.

    Raises:
        ProtocolError: The host is not this server, as when a web page's name was made to resolve to this machine; or
            the port is none.
        MissingHeaderError: One of the two routing headers came without the other.
    """
    host = _HOST.fullmatch(headers.get("host", "").lower())
    if host is None:
        raise ProtocolError(421, "the Host header must name 127.0.0.1 or localhost")
    sandbox_id, port = headers.get("e2b-sandbox-id"), headers.get("e2b-sandbox-port")
    if sandbox_id is None and port is None:
        port, sandbox_id = host.groups()
    if sandbox_id is None and port is None:
        return None
    if not sandbox_id or not port:
        raise MissingHeaderError
    if not re.fullmatch(r"\d{1,5}", port) or not 0 < int(port) < 65536:
        raise ProtocolError(400, "the sandbox port must be a number from 1 to 65535")
    return Target(sandbox_id, int(port))


class Routing:
    """Hands each request to the sandbox it is for, or to the control routes.

    Args:
        sandboxes: The sandboxes.
        control: The control routes.
    """

    def __init__(self, sandboxes: Sandboxes, control: ASGIApp) -> None:
        self._sandboxes = sandboxes
        self._control = control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands one request on."""
        if scope["method"] == "CONNECT":
            # It asks for a tunnel, not for an answer: there is none here, and h11 would take any answer for one.
            raise ProtocolError(405, "the embedded server is no proxy")
        try:
            target = target_of(Headers(scope=scope))
        except MissingHeaderError:
            await PlainTextResponse("missing header", 400)(scope, receive, send)
            return
        if target is None and scope["path"] == "/files":
            sandbox, port = await self._find(self._signed(Request(scope))), ENVD_PORT
        elif target is None:
            await self._control(scope, receive, send)
            return
        else:
            sandbox, port = await self._find(target.sandbox_id), target.port
        await self._enter(sandbox, port, scope, receive, send)

    async def _find(self, sandbox_id: str) -> LiveSandbox:
        sandbox = self._sandboxes.get(sandbox_id) or await self._sandboxes.pauses.wake(sandbox_id)
        if sandbox is None:
            raise sandbox_not_found(sandbox_id)
        return sandbox

    def _signed(self, request: Request) -> str:
        """Gives the id of the sandbox whose token has signed a request."""
        signature = signature_of(request)
        if signature is None:
            raise ProtocolError(401, "missing signature query parameter")
        for record in self._sandboxes.records:
            if signature.matches(record.token):
                return record.id
        raise ProtocolError(401, "invalid signature")

    async def _enter(self, sandbox: LiveSandbox, port: int, scope: Scope, receive: Receive, send: Send) -> None:
        transport = transport_of(scope)
        sandbox.connections.add(transport)
        try:
            if port == ENVD_PORT:
                await sandbox.envd(scope, receive, send)
            else:
                _check_traffic(sandbox, Headers(scope=scope))
                await forward(sandbox, port, scope, receive, send)
        finally:
            sandbox.connections.discard(transport)


def _check_traffic(sandbox: LiveSandbox, headers: Headers) -> None:
    if not sandbox.record.public and not equal(headers.get("e2b-traffic-access-token"), sandbox.record.traffic_token):
        raise ProtocolError(403, "the e2b-traffic-access-token header is missing or wrong", sandboxId=sandbox.id)
