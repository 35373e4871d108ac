"""A preview's WebSocket: what the browser says goes to the sandbox, and the reverse, message by message."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tornado.httpclient import HTTPError, HTTPRequest
from tornado.iostream import StreamClosedError
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    WebSocketError,
    WebSocketHandler,
    websocket_connect,
)

from e2b_magic.exceptions import BackendError
from e2b_magic.server_extension.preview_headers import Headers

if TYPE_CHECKING:
    from e2b_magic.sandboxes.ports import PortAddress

LARGEST_MESSAGE = 16 * 1024 * 1024
CONNECT_TIMEOUT = 10
"""How long a server in a sandbox may take to answer the handshake, in seconds."""
_NEVER_SENT = (None, 1005, 1006, 1015)  # RFC 6455, 7.4.1


class Relay:
    """The sandbox's side of one WebSocket, and what passes from there to the browser.

    Args:
        browser: The browser's side.
    """

    def __init__(self, browser: WebSocketHandler) -> None:
        self._browser = browser
        self._sandbox: WebSocketClientConnection | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def subprotocol(self) -> str | None:
        """The one that the server in the sandbox has chosen of those that the browser offers."""
        return None if self._sandbox is None else self._sandbox.selected_subprotocol

    async def dial(self, address: PortAddress, path: str, headers: Headers) -> None:
        """Connects to the sandbox; the browser's own handshake waits for that.

        Raises:
            BackendError: The server in the sandbox takes no WebSocket there.
        """
        offered = self._browser.request.headers.get("Sec-WebSocket-Protocol", "")
        request = HTTPRequest(
            f"ws{address.url.removeprefix('http')}{path}",
            headers={**dict(headers), **address.headers},
            follow_redirects=False,
            connect_timeout=CONNECT_TIMEOUT,
            request_timeout=CONNECT_TIMEOUT,
        )
        connecting: Any = websocket_connect(
            request,
            subprotocols=[name.strip() for name in offered.split(",") if name.strip()] or None,
            max_message_size=LARGEST_MESSAGE,
        )
        try:
            self._sandbox = await connecting
        except (HTTPError, OSError, StreamClosedError, ValueError, WebSocketError):
            raise BackendError("The server in the sandbox takes no WebSocket there") from None

    def begin(self) -> None:
        """Lets the sandbox's messages go on to the browser."""
        self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        assert self._sandbox is not None  # noqa: S101  `dial` comes first
        while (message := await self._sandbox.read_message()) is not None:
            try:
                await self._browser.write_message(message, binary=isinstance(message, bytes))
            except WebSocketClosedError:
                return
        code = self._sandbox.close_code
        self._browser.close(code if code not in _NEVER_SENT else None, self._sandbox.close_reason)

    async def send(self, message: str | bytes) -> None:
        """Hands one message of the browser's on."""
        if self._sandbox is not None:
            with suppress(WebSocketClosedError):  # then `_run` has seen it too, and ends the browser's side
                await asyncio.ensure_future(self._sandbox.write_message(message, binary=isinstance(message, bytes)))

    async def close(self) -> None:
        """Leaves the sandbox, with the browser's reason."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        if self._sandbox is not None:
            code = self._browser.close_code
            self._sandbox.close(code if code not in _NEVER_SENT else None, self._browser.close_reason)
