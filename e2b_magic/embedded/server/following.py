"""Follows a watch on a directory, for as long as somebody listens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from e2b_magic.embedded.sandbox.sandbox import FileEvent, Watch
from e2b_magic.embedded.server.callers import client_left


async def follow(watch: Watch, keepalive: float, allowed: float | None) -> AsyncIterator[FileEvent | None]:
    """Gives what a watch sees as it happens, and None where a sign of life is due, until the client has left.

    Args:
        watch: The watch; not ended here.
        keepalive: Seconds of silence after which a sign of life is due.
        allowed: Seconds that it may take altogether; None for no limit.

    Raises:
        AgentError: The watch ended, or not all that happened could be kept.
        ConnectError: The time is over.
    """
    deadline = float("inf") if allowed is None else time.monotonic() + allowed
    left = asyncio.ensure_future(client_left().wait())
    asked = asyncio.ensure_future(watch.events(wait=True))
    try:
        while not left.done():
            patience = deadline - time.monotonic()
            # Not `wait_for`: a question that was cancelled takes the events of its answer with it.
            done, _ = await asyncio.wait(
                {left, asked}, timeout=min(keepalive, max(patience, 0)), return_when="FIRST_COMPLETED"
            )
            if asked in done:
                for event in asked.result():
                    yield event
                asked = asyncio.ensure_future(watch.events(wait=True))
            elif not done and patience <= keepalive:
                raise ConnectError(Code.DEADLINE_EXCEEDED, "the stream's timeout is over")
            elif not done:
                yield None
    finally:
        left.cancel()
        asked.cancel()
        await asyncio.gather(left, asked, return_exceptions=True)
