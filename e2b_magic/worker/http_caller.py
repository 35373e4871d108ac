"""The way to a worker behind a Jupyter server: a request goes up as JSON, its events come down as lines of NDJSON.

Every call is one `POST …/worker/stream` on a connection of its own. To cancel a call is to send a `DELETE` for it
and to read on until the server says that it is over, so that nothing is left running when the prompt comes back, and
what the command said last is not lost; should that fail, the connection is closed, which ends the work too.

What was not sent is sent again; what changes nothing is asked again; for all else the answer to a broken connection
is an `OutcomeUnknownError`, since nobody here can know.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx

from e2b_magic.config import Worker
from e2b_magic.exceptions import E2BMagicError, OutcomeUnknownError, WorkerError
from e2b_magic.worker.protocol import (
    ALIVE,
    END,
    REQUEST_ID,
    Attached,
    Emit,
    Envelope,
    Event,
    event_from_json,
    json_default,
)
from e2b_magic.worker.requests import REQUESTS

CONNECT_TIMEOUT = 10
"""How long to wait for a connection, in seconds."""
SILENCE = 45
"""How long a stream may be silent, in seconds: three of the server's signs of life (`ALIVE_EVERY`)."""
ENDING = 1.8
"""How long a cancelled call may take to end on the server, in seconds, before the connection is closed on it."""
PAUSES = (0.1, 0.4, 1.0)
"""How long to wait before each further attempt, in seconds."""
LONGEST_PAUSE = 10
"""The longest `Retry-After` that is waited for, in seconds; who is told to wait longer is told so."""

_BUSY = (429, 503)


class _TryAgainError(Exception):
    """What was asked had no effect: it may be asked again, after so many seconds, or told as `error`."""

    def __init__(self, error: E2BMagicError, after: float | None = None) -> None:
        self.error = error
        self.after = after


class _WorkerAuth(httpx.Auth):
    """Signs each request; the token is in no header that a traceback's locals would show."""

    def __init__(self, worker: Worker) -> None:
        self._token = worker.token

    def auth_flow(self, request: httpx.Request) -> Any:
        """Signs one request."""
        request.headers["Authorization"] = f"token {self._token.reveal()}"
        yield request


class HttpCaller:
    """Calls the handler of a Jupyter server.

    Args:
        worker: The Jupyter server.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._routes = f"{worker.url.rstrip('/')}/e2b-magic/worker/stream"
        self._client: httpx.AsyncClient | None = None

    async def call(self, payload: dict[str, Any], emit: Emit) -> Envelope:
        """See `Caller.call`.

        Raises:
            WorkerError: The server did not answer or refused; nothing was done.
            OutcomeUnknownError: The connection broke after the request was sent.
        """
        for pause in (*PAUSES, None):
            try:
                return await self._cancellable(payload, emit)
            except _TryAgainError as again:
                after = again.after if again.after is not None else pause
                if pause is None or after is None or after > LONGEST_PAUSE:
                    raise again.error from None
            await asyncio.sleep(after)
        raise AssertionError  # the last round returns or raises

    async def close(self) -> None:
        """See `Caller.close`."""
        if self._client is not None:
            await self._client.aclose()

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                auth=_WorkerAuth(self._worker),
                timeout=httpx.Timeout(SILENCE, connect=CONNECT_TIMEOUT, pool=None),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
                # Not httpx's own store of certificates, but the system's, and SSL_CERT_FILE.
                verify=ssl.create_default_context(),
                # A proxy from the environment is for other machines; the SDK's client, too, must be told so.
                trust_env=urlsplit(self._routes).hostname not in ("127.0.0.1", "localhost", "::1"),
            )
        return self._client

    async def _cancellable(self, payload: dict[str, Any], emit: Emit) -> Envelope:
        """Makes one attempt in a task of its own, which goes on for a moment when the caller is cancelled."""
        identity = uuid.uuid4().hex
        exchange = asyncio.create_task(self._exchange(identity, payload, emit))
        try:
            return await asyncio.shield(exchange)
        except asyncio.CancelledError:
            with suppress(TimeoutError):
                async with asyncio.timeout(ENDING):
                    await self._delete(identity)
                    await asyncio.wait([exchange])
            raise
        finally:
            if not exchange.done():
                exchange.cancel()
                await asyncio.wait([exchange])
            if not exchange.cancelled():
                exchange.exception()  # taken, for whoever was cancelled does not ask for it

    async def _delete(self, identity: str) -> None:
        try:
            await self._http().delete(f"{self._routes}/{identity}")
        except httpx.HTTPError:
            # Then closing the stream's connection has to say it.
            return

    async def _exchange(self, identity: str, payload: dict[str, Any], emit: Emit) -> Envelope:
        repeatable = REQUESTS[payload["type"]].repeatable
        try:
            async with self._http().stream(
                "POST",
                self._routes,
                content=json.dumps(payload, default=json_default).encode(),
                headers={REQUEST_ID: identity},
            ) as response:
                if response.status_code != 200:
                    return await self._refusal(response, repeatable)
                return await self._read(response, emit)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            host = urlsplit(self._routes).netloc
            raise _TryAgainError(WorkerError(f"The Jupyter server at {host} does not answer: is it running?")) from None
        except (httpx.TransportError, ValueError):
            unknown = OutcomeUnknownError(
                "The connection to the Jupyter server broke after the request was sent: the work may or may not "
                "have been done"
            )
            raise (_TryAgainError(unknown) if repeatable else unknown) from None

    async def _refusal(self, response: httpx.Response, repeatable: bool) -> Envelope:
        """Gives the envelope of an answer that began with an error's status.

        Raises:
            WorkerError: There is none, since no worker answered.
        """
        await response.aread()
        envelope = _envelope(response)
        if response.status_code in _BUSY and repeatable:
            error = WorkerError("The Jupyter server is busy: try again in a moment")
            after = response.headers.get("Retry-After", "")
            raise _TryAgainError(error, float(after) if after.isdigit() else None)
        if envelope is not None:
            return envelope
        if response.status_code >= 500 and not repeatable:
            raise OutcomeUnknownError(
                f"The Jupyter server, or what stands before it, answered {response.status_code}: the work may or may "
                "not have been done"
            )
        raise WorkerError(self._why(response.status_code))

    def _why(self, status: int) -> str:
        host = urlsplit(self._routes).netloc
        if status in (301, 302, 303, 307, 308, 401, 403):
            return (
                f"The Jupyter server at {host} refused the token: it changes when the server restarts, so restart "
                "the kernel, or set E2B_MAGIC_WORKER_TOKEN to a token of that server"
            )
        if status == 404:
            return (
                f"The Jupyter server at {host} has no worker: see there whether `jupyter server extension list` names "
                "e2b_magic, and here whether E2B_MAGIC_WORKER_URL is the server's whole base URL"
            )
        return f"The Jupyter server at {host} answered with status {status}"

    async def _read(self, response: httpx.Response, emit: Emit) -> Envelope:
        envelope: Envelope | None = None
        # To the stream's end, which follows the last line at once: only then does the connection serve again.
        async for line in _lines(response):
            data = json.loads(line)
            if not isinstance(data, dict) or not isinstance(data.get("envelope", {}), dict):
                raise httpx.RemoteProtocolError("what came is no event")
            if data.get("event") == END and "envelope" in data:
                envelope = data["envelope"]
            elif (event := _event(data)) is not None:
                if isinstance(event, Attached):
                    # The name by which this client knows the worker's backend, so that it knows it again.
                    event = replace(event, backend=self._worker.backend)
                await emit(event)
        if envelope is None:
            raise httpx.RemoteProtocolError("the stream ended early")
        return envelope


def _event(data: dict[str, Any]) -> Event | None:
    """Gives an event; None for a sign of life, and for what only a newer version knows."""
    if data.get("event") == ALIVE:
        return None
    try:
        return event_from_json(data)
    except (KeyError, TypeError):
        return None


def _envelope(response: httpx.Response) -> Envelope | None:
    try:
        data = response.json()
    except ValueError:
        return None
    return data if isinstance(data, dict) and {"success", "error", "code"} <= data.keys() else None


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Gives a stream's lines; httpx's own way would break them at Unicode's other line separators."""
    parts: list[bytes] = []
    async for chunk in response.aiter_bytes():
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield b"".join([*parts, line])
            parts = []
        parts.append(rest)
