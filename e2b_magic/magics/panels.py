"""`%e2b panel`: the sandbox as something to look at."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from e2b_magic.interrupts import deferred
from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.context import Context

if TYPE_CHECKING:
    from e2b_magic.panels import Panel


def panel(context: Context, arguments: argparse.Namespace) -> Panel:
    """Gives a panel, which the cell shows."""
    with deferred():  # it brings ipywidgets, and one that is half made would be told of every change
        from e2b_magic.panels import Panel

        return Panel(context.client, arguments.tab or "run")


def _tabs(context: Context) -> Iterable[str]:
    from e2b_magic.panels import TABS  # here, since ipywidgets are not to be imported before a panel is wanted

    return TABS


COMMANDS = (
    Command(
        name="panel",
        summary="Show a panel to run commands, look at files and history, and look after the sandbox",
        run=panel,
        arguments=(
            Argument(names=("tab",), metavar="TAB", complete=_tabs, summary="the tab to begin with; run at first"),
        ),
        examples=("%e2b panel", "%e2b panel files"),
        notes=(
            "The panel works beside cells and other panels: all show one state. docs/panels.md tells of it.",
            "The value is a Panel, an ipywidget: `panel.close()` ends it.",
        ),
    ),
)
