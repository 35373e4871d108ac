"""How a request gets to a handler: one method, `call`, and the ways to do it.

`InProcessCaller` runs the handler here. `HttpCaller`, in `worker.http_caller`, asks a Jupyter server for it;
`caller_for` chooses between the two. `FakeCaller` answers from functions that a test gives it, so that nobody has
to patch anything to see an error.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from e2b_magic.config import Configuration
from e2b_magic.exceptions import E2BMagicError
from e2b_magic.worker.protocol import Emit, Envelope, failure, success

if TYPE_CHECKING:
    from e2b_magic.worker.handler import Handler


class Caller(Protocol):
    """Brings requests to a worker; all calls of one caller are made on one event loop."""

    async def call(self, payload: dict[str, Any], emit: Emit) -> Envelope:
        """Gives the envelope that answers a request, and its events before."""
        ...

    async def close(self) -> None:
        """Lets go of what the caller holds."""
        ...


class InProcessCaller:
    """Calls a handler in this process, made at the first call.

    Args:
        configuration: Which E2B the handler's sandboxes live on.
        imported: Called, in a thread, when the SDK had to be imported.
    """

    def __init__(self, configuration: Configuration, imported: Callable[[], None] | None = None) -> None:
        self._configuration = configuration
        self._imported = imported
        self._handler: Handler | None = None
        self._making = asyncio.Lock()

    async def call(self, payload: dict[str, Any], emit: Emit) -> Envelope:
        """See `Caller.call`."""
        return await (await self.handler()).handle(payload, emit)

    async def handler(self) -> Handler:
        """Gives the handler, made at the first call."""
        if self._handler is None:
            async with self._making:
                if self._handler is None:
                    self._handler = await asyncio.to_thread(self._make)
        return self._handler

    def _make(self) -> Handler:
        there = "e2b" in sys.modules
        # In a thread, since importing the SDK takes half a second, and only now, since a cached result needs none.
        from e2b_magic.sandboxes import SandboxManager
        from e2b_magic.worker.handler import Handler

        if self._imported is not None and not there:
            self._imported()
        return Handler(SandboxManager(self._configuration))

    async def close(self) -> None:
        """See `Caller.close`."""
        if self._handler is not None:
            await self._handler.close()


def caller_for(configuration: Configuration) -> Caller:
    """Gives the way to the configuration's worker: over HTTP where one is named, else in this process.

    Who has a key of one's own needs no worker's: the work is done here, and the key travels nowhere.
    """
    if configuration.worker is None or configuration.api_key is not None:
        return InProcessCaller(configuration)
    from e2b_magic.worker.http_caller import HttpCaller  # here, since its HTTP client takes a while to import

    return HttpCaller(configuration.worker)


Answer = Callable[[dict[str, Any], Emit], Awaitable[dict[str, Any]]]


class FakeCaller:
    """Answers from functions, and remembers what it was asked; for tests.

    Args:
        answers: For each request type a coroutine function that takes the payload and the emit, and gives the
            envelope's data or raises an `E2BMagicError`.
    """

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = dict(answers)
        self.asked: list[dict[str, Any]] = []

    async def call(self, payload: dict[str, Any], emit: Emit) -> Envelope:
        """See `Caller.call`."""
        self.asked.append(payload)
        try:
            return success(await self.answers[payload["type"]](payload, emit))
        except E2BMagicError as error:
            return failure(error)

    async def close(self) -> None:
        """See `Caller.close`."""
