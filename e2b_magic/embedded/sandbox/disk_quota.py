"""Keeps a sandbox's files within a number of bytes, from outside, by looking now and then.

File systems have quotas of their own, but few hosts have them switched on, and an ordinary user cannot. So the daemon
adds the files up. To do that rarely, it asks the file system often how much is free, which costs microseconds: as long
as less has gone since the last sum than the sandbox has left, the sandbox cannot have passed its quota.

Between two looks more can be written than the quota allows. Then everything inside but the agent is killed; files stay,
and none is written through the file API until some are removed. What this does not see is a file that was deleted
while a process has it open; `Limits.file_bytes` bounds the size of each.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable

from e2b_magic.embedded.containment.state import StateDirectory
from e2b_magic.embedded.sandbox.disk_usage import UnmeasurableError, disk_usage
from e2b_magic.embedded.sandbox.entries import AgentError

_logger = logging.getLogger(__name__)
# Seconds between two looks at the free space, and the most between two sums (others may free what a sandbox takes).
LOOK_SECONDS, SUM_SECONDS = 0.25, 5.0
# Summing takes at most this part of the time.
SHARE = 0.05
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class DiskQuota:
    """Watches one sandbox's disk.

    Args:
        state: The sandbox's directory.
        limit: Bytes; None for no quota.
        exceeded: Called when the sandbox is found over its quota, and to have grown; it stops whatever writes.

    Attributes:
        used: Bytes at the last sum.
    """

    def __init__(self, state: StateDirectory, limit: int | None, exceeded: Callable[[], None]) -> None:
        self.used = 0
        self._state = state
        self._limit = limit
        self._exceeded = exceeded
        self._full = False
        self._task: asyncio.Task[None] | None = None
        self.watch()

    def check(self) -> None:
        """Lets a file be written.

        Raises:
            AgentError: `no_space`.
        """
        if self._full:
            raise AgentError("no_space", f"the sandbox's files take more than its {self._limit} bytes; remove some")

    def watch(self) -> None:
        """Begins the watch, where there is a quota and none is kept."""
        if self._limit is not None and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watch(self._limit))

    def close(self) -> None:
        """Ends the watch; `watch` begins it again."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _watch(self, limit: int) -> None:
        # Opened anew, not duplicated: a sum that is under way when the sandbox ends must not keep its lock.
        state = os.open(".", _DIRECTORY, dir_fd=self._state.fileno())
        try:
            while True:
                free, started, before = _free(state), time.monotonic(), self.used
                summing = asyncio.ensure_future(asyncio.to_thread(self._sum, state, limit))
                try:
                    await asyncio.shield(summing)
                except asyncio.CancelledError:
                    await asyncio.wait({summing})
                    raise
                # Not when it shrank: that is someone removing files, who must be let live.
                if self._full and self.used > before:
                    self._exceeded()
                took = time.monotonic() - started
                await self._wait(state, free, limit - self.used, took / SHARE)
        finally:
            os.close(state)

    def _sum(self, state: int, limit: int) -> None:
        try:
            self.used = disk_usage(state)
        except (UnmeasurableError, OSError) as error:
            # What cannot be measured is not let grow.
            _logger.warning("a sandbox's disk could not be measured: %s", error)
            self.used = max(limit, self.used) + 1
        self._full = self.used > limit

    async def _wait(self, state: int, free: int, left: int, least: float) -> None:
        """Waits until the next sum is due: until half of what was left may be gone, or for long enough."""
        started = time.monotonic()
        while (waited := time.monotonic() - started) < max(SUM_SECONDS, least):
            await asyncio.sleep(LOOK_SECONDS)
            if waited >= least and free - _free(state) > left // 2:
                return


def _free(state: int) -> int:
    told = os.fstatvfs(state)
    # Not f_bavail, in which a file system that reserves space for others need not show what is taken.
    return told.f_bfree * told.f_frsize
