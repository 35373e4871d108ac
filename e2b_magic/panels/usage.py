"""What a sandbox uses of processor, memory and disk over time, as three small plots."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

from ipywidgets import HTML

from e2b_magic.exceptions import E2BMagicError
from e2b_magic.panels.plots import sparkline
from e2b_magic.panels.view import Ticker
from e2b_magic.quantities import size
from e2b_magic.records import SandboxMetrics

if TYPE_CHECKING:
    from e2b_magic.panels.view import View

PERIOD: Final = 5.0
"""How often a sandbox is measured, in seconds: as often as E2B's own servers do it."""
KEPT: Final = 120
"""How many measurements are shown."""


class Usage(HTML):  # type: ignore[misc]  # ipywidgets has no types
    """Shows one sandbox's measurements, while it is told to.

    Args:
        view: Whose client to ask.
    """

    def __init__(self, view: View) -> None:
        super().__init__()
        self.add_class("e2b-plots")
        self._view = view
        self._sandbox = ""
        self._known: dict[float, SandboxMetrics] = {}
        self._ticker = Ticker(view, self._measure, period=PERIOD)

    def start(self, sandbox_id: str) -> None:
        """Measures from now on; another sandbox than before begins anew."""
        if sandbox_id != self._sandbox:
            self._sandbox = sandbox_id
            self._known.clear()
            self.value = ""
        self._ticker.start()

    def stop(self) -> None:
        """Measures no more; what is shown stays."""
        self._ticker.stop()

    async def _measure(self) -> None:
        try:
            found = await self._view.client.aget_sandbox_metrics()
        except E2BMagicError as error:
            # Said here and not in the message line, where it would cover what the user has just done.
            self.value = f'<span class="e2b-quiet">Not measured: {html.escape(str(error))}</span>'
            return
        self._known |= {one.timestamp: one for one in found}
        for old in sorted(self._known)[:-KEPT]:
            del self._known[old]
        self._draw()

    def _draw(self) -> None:
        course = [self._known[at] for at in sorted(self._known)]
        if not course:
            return
        last = course[-1]
        most = 100.0 * max(1, last.cpu_count)
        memory, disk = last.memory_total or 1, last.disk_total or 1
        memory_now, disk_now = _of(last.memory_used, memory), _of(last.disk_used, disk)
        self.value = "".join(
            [
                sparkline("CPU", [one.cpu_used_pct for one in course], most=most, latest=f"{last.cpu_used_pct:.0f} %"),
                sparkline("Memory", [one.memory_used for one in course], most=memory, latest=memory_now),
                sparkline("Disk", [one.disk_used for one in course], most=disk, latest=disk_now),
            ]
        )


def _of(used: int, total: int) -> str:
    return f"{size(used)} of {size(total)}" if total > 1 else size(used)
