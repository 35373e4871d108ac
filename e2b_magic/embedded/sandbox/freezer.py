"""The way in which this machine's sandboxes are frozen.

Of the three there are, the freezer of control groups' version 2 is the best, where the server has groups. Then comes
tracing, which needs nothing but the kernel. Version 1's freezer comes last: what it holds does not die when it is
killed, so a server that is killed itself would leave it behind, frozen.
"""

from __future__ import annotations

import asyncio
import errno

from e2b_magic.embedded.containment.control_group import ControlGroup
from e2b_magic.embedded.containment.freezing import FreezeError, Hold


class Freezer:
    """Freezes one sandbox, once.

    Args:
        agent: The process id of its first process.
        group: Its control group; None for none.
    """

    def __init__(self, agent: int, group: ControlGroup | None) -> None:
        self._agent = agent
        self._group = group
        self._hold: Hold | None = None

    async def freeze(self) -> None:
        """Stops everything inside.

        Raises:
            FreezeError: This machine lets the server do that in no way.
        """
        if self._group is not None and self._group.lets_the_frozen_die:
            await self._freeze_group(self._group)
            return
        self._hold = Hold(self._agent)
        try:
            await asyncio.shield(asyncio.wrap_future(self._hold.taken))
        except asyncio.CancelledError:
            self._hold.let_go()
            raise
        except FreezeError:
            self._hold = None
            if self._group is None or "freezer" not in self._group.controllers:
                raise
            await self._freeze_group(self._group)

    async def _freeze_group(self, group: ControlGroup) -> None:
        try:
            await asyncio.to_thread(group.freeze)
        except OSError as error:  # a TimeoutError is one
            await asyncio.to_thread(_thaw, group)
            raise FreezeError(f"its control group cannot be frozen: {error}") from error

    async def thaw(self) -> None:
        """Lets everything go on."""
        if self._hold is not None:
            self._hold.let_go()
            await asyncio.shield(asyncio.wrap_future(self._hold.ended))
        elif self._group is not None:
            await asyncio.to_thread(_thaw, self._group)

    def let_die(self) -> None:
        """Lets what was killed while it was frozen come to its end."""
        if self._hold is not None:
            self._hold.let_go()
        elif self._group is not None:
            _thaw(self._group)


def _thaw(group: ControlGroup) -> None:
    try:
        group.thaw()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):  # all in it has died, and it was removed
            raise
