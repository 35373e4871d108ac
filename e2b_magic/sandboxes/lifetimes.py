"""How long each project's sandbox lives after its last use, and the moving of its end for as long as it is used.

What was asked of a project's sandbox comes with the requests, from a client that has stored it; the end is moved in the
background, since a command need not wait for that.
"""

from __future__ import annotations

import asyncio
import time

from e2b_magic.exceptions import E2BMagicError
from e2b_magic.sandboxes.lease import Lease
from e2b_magic.sandboxes.sdk_errors import translating
from e2b_magic.sandboxes.tagged import TIMEOUT
from e2b_magic.worker.requests.base import Request

EXTENDING = 300
"""Work that goes on moves its sandbox's end this often, in seconds; more often where a sandbox lives shortly."""
EXTEND_EVERY = 60
"""A used sandbox's end is moved at most this often, in seconds."""


class Lifetimes:
    """The times of one user's sandboxes."""

    def __init__(self) -> None:
        self._seconds: dict[str, int] = {}
        self._moving: set[asyncio.Task[None]] = set()

    def seconds(self, project: str) -> int:
        """Gives how long a project's sandbox lives after its last use."""
        return self._seconds.get(project, TIMEOUT)

    def set(self, project: str, seconds: int) -> None:
        """Has every use of a project's sandbox keep it for so long."""
        self._seconds[project] = seconds

    def note(self, request: Request) -> None:
        """Takes over what the client has stored of its project.

        A client whose store cannot be written tells nothing: then what was said last holds.
        """
        if request.sandbox_timeout:
            self._seconds[request.project_id] = request.sandbox_timeout

    def interval(self, lease: Lease) -> float:
        """Gives how often work that goes on in a sandbox moves its end, in seconds: thrice in its life at least."""
        return min(EXTENDING, self.seconds(lease.project) / 3)

    def extend_used(self, lease: Lease) -> None:
        """Moves the end of a sandbox that is in use, unless that was done a moment ago."""
        if time.time() + self.seconds(lease.project) - lease.expires_at > EXTEND_EVERY:
            self.extend(lease)

    def extend(self, lease: Lease) -> None:
        """Moves a sandbox's end in the background."""
        lease.expires_at = time.time() + self.seconds(lease.project)
        task = asyncio.create_task(self._extend(lease))
        self._moving.add(task)
        task.add_done_callback(self._moving.discard)

    async def _extend(self, lease: Lease) -> None:
        # connect, not set_timeout: it never shortens, should another process have asked for more (E2B#1055).
        try:
            with translating():
                await lease.sandbox.connect(timeout=self.seconds(lease.project))
                lease.expires_at = (await lease.sandbox.get_info()).end_at.timestamp()
            lease.verified = time.monotonic()
        except E2BMagicError:
            # The work that goes on meanwhile meets the same trouble and tells of it; here it only means "look again".
            lease.verified = float("-inf")

    async def settled(self) -> None:
        """Waits until the ends that are being moved have been."""
        await asyncio.gather(*self._moving)

    async def close(self) -> None:
        """Moves no end any more."""
        moving = list(self._moving)
        for task in moving:
            task.cancel()
        await asyncio.gather(*moving, return_exceptions=True)
