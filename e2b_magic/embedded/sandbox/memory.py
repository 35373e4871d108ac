"""Whether a sandbox has memory for another process.

A process that begins without it can end the sandbox: to make room the kernel kills the agent, with nothing else left.
"""

from __future__ import annotations

import asyncio
import time

from e2b_magic.embedded.containment.control_group import ControlGroup
from e2b_magic.embedded.sandbox.entries import AgentError

# What a process may take until it can be killed for it. The kernel hands memory out by 256 KiB.
_START_BYTES = 1 << 20
# Seconds in which memory comes back that what was killed or removed a moment ago is giving back.
_TIMEOUT = 0.5
_POLL = 0.02
_USED_UP = (
    "the sandbox's memory is used up by files that lie in memory, in /dev/shm or where its directory is on a tmpfs: "
    "remove some of them, or give it more memory"
)


async def wait_for_memory(group: ControlGroup | None) -> None:
    """Returns when there is memory for a process, or some that killing others would bring.

    Args:
        group: The sandbox's control group; None where there are none, and nothing is known.

    Raises:
        AgentError: `exhausted`: there is none, and killing would bring none.
    """
    deadline = time.monotonic() + _TIMEOUT
    while not _has_memory(group):
        if time.monotonic() > deadline:
            raise AgentError("exhausted", _USED_UP)
        await asyncio.sleep(_POLL)


def _has_memory(group: ControlGroup | None) -> bool:
    try:
        left = None if group is None else group.memory_left()
    except OSError:  # the group has gone with the sandbox, or no descriptor is left: what comes next tells of it
        return True
    return left is None or left >= _START_BYTES
