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
import stat
import time
from collections.abc import Callable
from pathlib import Path

from e2b_magic.embedded.containment.state import WRITABLE, StateDirectory
from e2b_magic.embedded.sandbox.entries import AgentError

_logger = logging.getLogger(__name__)
# Seconds between two looks at the free space, and the most between two sums (others may free what a sandbox takes).
LOOK_SECONDS, SUM_SECONDS = 0.25, 5.0
# Summing takes at most this part of the time.
SHARE = 0.05
# Levels of directories beyond which a tree counts as over any quota: each level holds a descriptor while it is summed.
DEEPEST = 128
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TooDeep(Exception):  # noqa: N818 - a finding
    """Directories are nested more deeply than anyone but an attacker nests them."""


def measure(state: int) -> int:
    """Gives the bytes on disk of a sandbox's files, links not followed.

    Args:
        state: The descriptor of its state directory.

    Raises:
        TooDeep: There are more than `DEEPEST` levels.
    """
    return sum(_measure(state, name, 0) for name in WRITABLE)


def _measure(above: int, name: str, depth: int) -> int:
    if depth > DEEPEST:
        raise TooDeep
    try:
        directory = _open(above, name)
    except (FileNotFoundError, NotADirectoryError):
        return 0  # it changed since it was listed
    try:
        total = 0
        with os.scandir(directory) as entries:
            for entry in entries:
                total += _size(directory, entry, depth)
        return total
    finally:
        os.close(directory)


def _size(directory: int, entry: os.DirEntry[str], depth: int) -> int:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return 0
    # By its links, so that a file with two names counts once; all of them lie in here.
    own = status.st_blocks * 512 // max(status.st_nlink, 1) if not stat.S_ISDIR(status.st_mode) else 4096
    return own + (_measure(directory, entry.name, depth + 1) if stat.S_ISDIR(status.st_mode) else 0)


def _open(above: int, name: str) -> int:
    """Opens a directory, one that its owner may not read too."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=above)
    except PermissionError:
        held = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        # By the descriptor: what stands at the name may be another thing by now.
        Path(f"/proc/self/fd/{held}").chmod(0o700)
        return os.open(f"/proc/self/fd/{held}", _DIRECTORY & ~os.O_NOFOLLOW)
    finally:
        os.close(held)


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
        self._task = None if limit is None else asyncio.get_running_loop().create_task(self._watch(limit))

    def check(self) -> None:
        """Lets a file be written.

        Raises:
            AgentError: `no_space`.
        """
        if self._full:
            raise AgentError("no_space", f"the sandbox's files take more than its {self._limit} bytes; remove some")

    def close(self) -> None:
        """Ends the watch."""
        if self._task is not None:
            self._task.cancel()

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
            self.used = measure(state)
        except TooDeep:
            self.used = max(limit, self.used) + 1
        except OSError as error:
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
