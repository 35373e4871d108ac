"""Keeping collections of garbage short, since the server's loop stands still in one."""

from __future__ import annotations

import gc


def leave_out_what_is_there() -> None:
    """Leaves what is in memory now out of all later collections.

    A full collection walks every object that might be part of a cycle, and no route answers meanwhile. Jupyter's
    imports leave 175,000 of them (jupyter_server 2.21), the SDK's 36,000, for as long as the process lives: that took
    0.15 s and came in the middle of whatever was going on. Larger thresholds would only make it rarer.

    What is there now and becomes part of a cycle that nobody holds stays in memory, so this is for the moments when
    little but what was imported is there.
    """
    gc.freeze()
