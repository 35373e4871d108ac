"""One worker a user: sandboxes of its own, requests at work that can be cancelled, limits, and a line in the log."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from e2b_magic.config import ApiKey, Configuration
from e2b_magic.exceptions import (
    CommandInterruptedError,
    CommandTimeoutError,
    ConfigurationError,
    E2BMagicError,
    InvalidRequestError,
    RateLimitError,
)
from e2b_magic.server_extension.garbage import leave_out_what_is_there
from e2b_magic.server_extension.redaction import Redactor
from e2b_magic.worker.caller import InProcessCaller
from e2b_magic.worker.protocol import Emit, Envelope, failure
from e2b_magic.worker.requests import REQUESTS
from e2b_magic.worker.requests.base import PROJECT_NAME
from e2b_magic.worker.requests.commands import EXECUTION_ID

if TYPE_CHECKING:
    from e2b_magic.sandboxes.ports import PortAddress


@dataclass(frozen=True, slots=True)
class Limits:
    """What one user may use at once.

    Attributes:
        requests: How many requests may be at work.
        sandboxes: How many sandboxes may live.
        seconds: How long a request may take; 0 for as long as it likes.
        body_bytes: How many bytes a request may have.
        previews: How many of a preview's requests and WebSockets may be open.
    """

    requests: int
    sandboxes: int
    seconds: float
    body_bytes: int
    previews: int


@dataclass(slots=True)
class _Audit:
    """One request's line in the log: who, what, where, how it ended, how long it took; nothing of what was sent."""

    log: logging.Logger
    user: str
    request: str
    type: str
    project: str
    execution: str
    began: float = field(default_factory=time.perf_counter)

    def end(self, envelope: Envelope) -> None:
        outcome = "success" if envelope["success"] else envelope["code"]
        told = {
            "user": self.user,
            "type": self.type,
            "project": self.project,
            "request": self.request,
            "execution": self.execution,
            "outcome": outcome,
            "seconds": round(time.perf_counter() - self.began, 4),
        }
        self.log.info("e2b-magic request %s", json.dumps(told))


class UserWorker:
    """Answers one user's requests.

    Args:
        configuration: Which E2B to use, in the user's name.
        limits: What the user may use.
        redactor: Is told of a request's own key, for as long as that is in use.
        log: Where each request leaves a line.
    """

    def __init__(self, configuration: Configuration, limits: Limits, redactor: Redactor, log: logging.Logger) -> None:
        self.configuration = configuration
        self.limits = limits
        self.caller = InProcessCaller(configuration, leave_out_what_is_there)
        self._redactor = redactor
        self._log = log
        self._running: dict[str, asyncio.Task[Envelope]] = {}
        self._previews = 0

    async def handle(self, request: str, payload: dict[str, Any], emit: Emit) -> Envelope:
        """Gives the envelope that answers a request.

        Args:
            request: The id by which it can be cancelled.
            payload: The request as a mapping of JSON values; an `api_key` in it is used for it alone.
            emit: Awaited with each event.
        """
        kind, project, execution = (payload.get(name) for name in ("type", "project_id", "execution"))
        audit = _Audit(
            self._log,
            self.configuration.user,
            request,
            kind if isinstance(kind, str) and kind in REQUESTS else "?",
            project if isinstance(project, str) and PROJECT_NAME.fullmatch(project) else "?",
            execution if isinstance(execution, str) and EXECUTION_ID.fullmatch(execution) else "",
        )
        envelope = await self._answer(request, payload, emit)
        audit.end(envelope)
        return envelope

    async def _answer(self, request: str, payload: dict[str, Any], emit: Emit) -> Envelope:
        try:
            self._admit(request)
            key = _own_key(payload)
        except E2BMagicError as error:
            return failure(error)
        task = asyncio.create_task(self._work(payload, key, emit))
        self._running[request] = task
        try:
            return await task
        except asyncio.CancelledError:
            if not task.cancelled():  # it is this coroutine that was cancelled
                task.cancel()
                raise
            return failure(CommandInterruptedError("The command was interrupted and killed"))
        except TimeoutError:
            allowed = f"{self.limits.seconds:g} s"
            return failure(CommandTimeoutError(f"This server lets a request run for {allowed}: it was killed"))
        finally:
            del self._running[request]

    def _admit(self, request: str) -> None:
        if request in self._running:
            raise InvalidRequestError("This request is already at work: give each one an id of its own")
        if len(self._running) >= self.limits.requests:
            raise RateLimitError(
                f"You have {self.limits.requests} requests at work, which is all that this server allows one user: "
                "wait for one to end, or interrupt it"
            )

    async def _work(self, payload: dict[str, Any], key: ApiKey | None, emit: Emit) -> Envelope:
        async with asyncio.timeout(self.limits.seconds or None):
            if key is None:
                return await self.caller.call(payload, emit)
            caller = InProcessCaller(replace(self.configuration, api_key=key, shared=False), leave_out_what_is_there)
            with self._redactor.hiding(key.reveal()):
                try:
                    return await caller.call(payload, emit)
                finally:
                    await caller.close()

    async def port_address(self, project: str, port: int) -> PortAddress:
        """Gives where a port of a project's sandbox is reached.

        Raises:
            SandboxGoneError: The project has no sandbox.
        """
        handler = await self.caller.handler()
        # Imported here: it imports the SDK, which by now is there.
        from e2b_magic.sandboxes.ports import port_address

        return await port_address(handler.manager, project, port)

    async def told_bases(self, project: str, port: int) -> list[str]:
        """Gives the paths at which the dev servers that run for a port of a project's sandbox were told to live."""
        handler = await self.caller.handler()
        # Imported here, as above.
        from e2b_magic.sandboxes.servers import told_bases

        return await told_bases(handler.manager, project, port)

    @contextmanager
    def previewing(self) -> Iterator[None]:
        """Counts a preview's request, or WebSocket, for as long as it is open.

        Raises:
            RateLimitError: The user has as many open as allowed.
        """
        if self._previews >= self.limits.previews:
            raise RateLimitError(
                f"You have {self._previews} connections to previews open, which is all that this server allows one "
                "user (E2BMagicApp.max_previews): close a page"
            )
        self._previews += 1
        try:
            yield
        finally:
            self._previews -= 1

    def cancel(self, request: str) -> bool:
        """Ends a request, and in the sandbox what it runs; says whether it was at work."""
        task = self._running.get(request)
        return task is not None and task.cancel()

    async def close(self) -> None:
        """Ends every request at work; sandboxes live on until their time is over."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.caller.close()


def _own_key(payload: dict[str, Any]) -> ApiKey | None:
    """Takes the key that a request brings out of it, so that nothing later can tell it."""
    if payload.get("api_key") is None:
        payload.pop("api_key", None)
        return None
    if not isinstance(payload["api_key"], str):
        del payload["api_key"]
        raise InvalidRequestError("api_key must be a string or null")
    try:
        return ApiKey(payload.pop("api_key"))
    except ConfigurationError as error:
        raise InvalidRequestError(str(error)) from None


class UserWorkers:
    """The workers of all users, each made when its user first asks.

    Args:
        make: Makes the worker of an identity.
    """

    def __init__(self, make: Callable[[str], UserWorker]) -> None:
        self._make = make
        self._workers: dict[str, UserWorker] = {}

    def of(self, identity: str) -> UserWorker:
        """Gives a user's worker."""
        if identity not in self._workers:
            self._workers[identity] = self._make(identity)
        return self._workers[identity]

    async def close(self) -> None:
        """Ends what all of them do."""
        await asyncio.gather(*(worker.close() for worker in self._workers.values()))
