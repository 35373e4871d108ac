"""The worker's routes: a request in, its envelope out, its events between.

`POST worker` answers with the envelope alone. `POST worker/stream` answers with lines of NDJSON, one an event, the
last one `{"event": "end", "envelope": …}`; its first line, and with it the status 200, is sent when the first event
is there, so that a request refused at once has the status it deserves. `DELETE worker/stream/<id>` cancels; leaving
does too.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web
from tornado.iostream import StreamClosedError

import e2b_magic
from e2b_magic.exceptions import E2BMagicError, InvalidRequestError, RateLimitError, RequestTooLargeError
from e2b_magic.server_extension.routes import BoundedBody, Route
from e2b_magic.worker.protocol import (
    ALIVE,
    END,
    REQUEST_ID,
    Envelope,
    Event,
    event_to_json,
    failure,
    ignore,
    json_default,
)
from e2b_magic.worker.requests.jobs import StartDevServer

ALIVE_EVERY = 15
"""A stream without events says so often, in seconds, that it lives: proxies cut what is silent for a minute."""
STATUS = {InvalidRequestError.code: 400, RequestTooLargeError.code: 413, RateLimitError.code: 429}
"""The status of an envelope that says no; any other, whatever it says, is an answer, and so 200."""
_REQUEST_ID = re.compile(r"[a-z0-9-]{1,64}")


class HealthRoute(Route, APIHandler):
    """`GET health`: whether there is a worker, and which."""

    @web.authenticated
    @authorized
    def get(self) -> None:
        """Tells the version and the E2B in use."""
        backend = self.worker.configuration.backend
        self.finish(json.dumps({"status": "ok", "version": e2b_magic.__version__, "backend": backend}))


class _Requests(BoundedBody, APIHandler):
    """What the two routes that take a request share."""

    def request_id(self) -> str:
        """Gives the id that the client has given its request, or a new one.

        Raises:
            InvalidRequestError: It is none.
        """
        given = self.request.headers.get(REQUEST_ID) or uuid.uuid4().hex
        if _REQUEST_ID.fullmatch(given):
            return given
        raise InvalidRequestError(f"{REQUEST_ID} must be 1 to 64 of a-z, 0-9 and '-'")

    def payload(self) -> dict[str, Any]:
        """Gives the request's JSON.

        Raises:
            InvalidRequestError: It is none, or no object.
        """
        try:
            payload = json.loads(self.body())
        except (ValueError, RecursionError):
            # Without the original, whose locals hold what was sent.
            raise InvalidRequestError("The body must be JSON in UTF-8, nested no deeper than a request is") from None
        if not isinstance(payload, dict):
            raise InvalidRequestError("A request must be a JSON object with a `type`")
        if payload.get("type") == StartDevServer.type:
            place = (payload.get("project_id"), payload.get("port"))
            if base := self.extension.base_for(self.identity, self.current_user, *place):
                payload["base"] = base
        return payload

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answers what Jupyter or tornado refuse; a body that is too large as an envelope, with its reason."""
        error = kwargs.get("exc_info", (None, None))[1]
        if status_code == 413 and isinstance(error, web.HTTPError):
            self.answer(failure(RequestTooLargeError(error.log_message)))
        else:
            super().write_error(status_code, **kwargs)

    def answer(self, envelope: Envelope) -> None:
        """Answers with an envelope and the status that it deserves."""
        if not envelope["success"]:
            self.set_status(STATUS.get(envelope["code"], 200))
            if self.get_status() == 429:
                self.set_header("Retry-After", "1")
        self.finish(json.dumps(envelope, default=json_default))


@web.stream_request_body
class WorkerRoute(_Requests):
    """`POST worker`."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Answers a request with its envelope."""
        try:
            envelope = await self.worker.handle(self.request_id(), self.payload(), ignore)
        except E2BMagicError as error:
            envelope = failure(error)
        self.answer(envelope)


@web.stream_request_body
class StreamRoute(_Requests):
    """`POST worker/stream`."""

    _at_work: str | None = None
    _begun = False

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Answers a request with its events as they come, and its envelope."""
        self._sending = asyncio.Lock()
        alive = asyncio.create_task(self._say_alive())
        try:
            request, payload = self.request_id(), self.payload()
            self._at_work = request
            envelope = await self.worker.handle(request, payload, self._emit)
        except E2BMagicError as error:
            envelope = failure(error)
        finally:
            self._at_work = None
            alive.cancel()
        # A request without events, too, ends as a stream does, unless it was refused with a status of its own.
        if self._begun or envelope.get("code") not in STATUS:
            await self._send({"event": END, "envelope": envelope})
            self.finish()
        else:
            self.answer(envelope)

    def on_connection_close(self) -> None:
        """Ends the work of a client that has left, and what it runs in the sandbox."""
        super().on_connection_close()
        if self._at_work is not None:
            self.worker.cancel(self._at_work)

    async def _emit(self, event: Event) -> None:
        await self._send(event_to_json(event))

    async def _say_alive(self) -> None:
        while True:
            await asyncio.sleep(ALIVE_EVERY)
            await self._send({"event": ALIVE})

    async def _send(self, line: dict[str, Any]) -> None:
        # One at a time: tornado would forget whoever still waits for an earlier flush. To wait for it is what keeps
        # the sandbox's output from piling up here when the client is slow.
        async with self._sending:
            if not self._begun:
                self._begun = True
                self.set_header("Content-Type", "application/x-ndjson")
                self.set_header("Cache-Control", "no-store")
                self.set_header("X-Accel-Buffering", "no")  # nginx would gather the lines
            try:
                self.write(json.dumps(line, default=json_default) + "\n")
                await self.flush()
            except StreamClosedError:
                # The client has left: `on_connection_close` ends the work.
                return


class CancelRoute(Route, APIHandler):
    """`DELETE worker/stream/<id>`."""

    @web.authenticated
    @authorized
    def delete(self, request: str) -> None:
        """Cancels a request of the same user's.

        Raises:
            HTTPError: 404, no such request is at work.
        """
        if not self.worker.cancel(request):
            raise web.HTTPError(404, "No such request is at work")
        self.set_status(204)
        self.finish()


ROUTES = [
    (r"/e2b-magic/health", HealthRoute),
    (r"/e2b-magic/worker", WorkerRoute),
    (r"/e2b-magic/worker/stream", StreamRoute),
    (r"/e2b-magic/worker/stream/([a-z0-9-]{1,64})", CancelRoute),
]
