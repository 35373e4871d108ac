"""The server's ASGI application: `Routing` with what every request needs around it.

It counts requests, so that the daemon knows when nobody needs it, and turns refusals into answers.
"""

from __future__ import annotations

import logging
import time

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from e2b_magic.embedded.server.connections import reset, transport_of
from e2b_magic.embedded.server.control.control import Control
from e2b_magic.embedded.server.metrics import Metrics
from e2b_magic.embedded.server.pages import page_of, wants_page
from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.routing import Routing
from e2b_magic.embedded.server.sandboxes import Sandboxes

_log = logging.getLogger(__name__)


class Activity:
    """When the server was last needed."""

    def __init__(self) -> None:
        self._requests = 0
        self._last = time.monotonic()

    def begin(self) -> None:
        """Counts a request that begins."""
        self._requests += 1

    def end(self) -> None:
        """Counts a request that is over."""
        self._requests -= 1
        self._last = time.monotonic()

    @property
    def idle(self) -> float:
        """Seconds since the last request was over; 0 while there is one."""
        return 0.0 if self._requests else time.monotonic() - self._last


class Application:
    """The whole server.

    Args:
        sandboxes: The sandboxes it serves.
        api_key: The key to its control routes.

    Attributes:
        activity: When it was last needed.
        metrics: What the sandboxes use.
    """

    def __init__(self, sandboxes: Sandboxes, api_key: str) -> None:
        self.metrics = Metrics(sandboxes, sandboxes.limits)
        self._routing = Routing(sandboxes, Control(sandboxes, api_key, self.metrics))
        self.activity = Activity()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        started = complete = False

        async def watched_send(message: Message) -> None:
            nonlocal started, complete
            started = True
            await send(message)
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        self.activity.begin()
        try:
            await self._routing(scope, receive, watched_send)
        except ProtocolError as error:
            await _refuse(error, scope, receive, send, started=started)
        except ClientDisconnect:
            # Whoever would be told has left.
            return
        except Exception:  # noqa: BLE001 - whatever it is, the client must be told
            # uvicorn would answer in plain text, which E2B's clients stumble over.
            _log.exception("a request failed: %s %s", scope["method"], scope["path"])
            # A service may have told the client itself; then the connection serves the next request.
            if not complete:
                failure = ProtocolError(500, "the embedded server failed: its log says why")
                await _refuse(failure, scope, receive, send, started=started)
        finally:
            self.activity.end()


async def _refuse(error: ProtocolError, scope: Scope, receive: Receive, send: Send, *, started: bool) -> None:
    if started:
        # Half an answer is out; a broken connection is the one sign left that it will not be whole.
        reset(transport_of(scope))
    else:
        response = page_of(error) if wants_page(Headers(scope=scope)) else error.response()
        await response(scope, receive, send)
