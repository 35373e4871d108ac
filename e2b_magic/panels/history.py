"""The *History* tab: what was run, in this kernel and before, page by page; look at it, run it again, take it along."""

from __future__ import annotations

import html
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from ipywidgets import HTML, Dropdown, Text, Textarea, VBox

from e2b_magic.client import Client
from e2b_magic.client.changes import Change, Closed, SettingsChanged
from e2b_magic.panels.controls import FITTING, button, card, line
from e2b_magic.panels.magic import as_magic
from e2b_magic.panels.output import OutputBox
from e2b_magic.panels.rows import Row, Rows
from e2b_magic.panels.run import RunPanel, ended
from e2b_magic.panels.view import Refresh, View
from e2b_magic.quantities import ago, span
from e2b_magic.records import ExecutionResult, Status

PAGE: Final = 25
"""How many executions a page shows."""
_COMMAND: Final = 300  # of a command in a row, in characters


class HistoryPanel(View):
    """Lists the last seven days' executions.

    Args:
        client: Whose history to show; the kernel's client when left out.
        run: Where to run commands again; one of its own, shown when it is first used, when left out.
        turn_to_run: Called when a command goes to that panel.
    """

    def __init__(
        self,
        client: Client | None = None,
        *,
        run: RunPanel | None = None,
        turn_to_run: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(client)
        self._run = run
        self._turn_to_run = turn_to_run
        self._before: list[str | None] = [None]  # for each page up to this one, the id that it comes after
        self._steps: deque[int] = deque()  # pages to be turned: each from where the one before has led
        self._page: list[ExecutionResult] = []
        self._later = False
        self._chosen: ExecutionResult | None = None
        self._refresh = Refresh(self, self._load, pause=0.3)
        self._build()
        self._refresh.ask()

    def _build(self) -> None:
        self.filter = Text(description="Filter", placeholder="part of a command", style=FITTING)
        # A value of None would be taken for no choice, by chance: what is notified first hangs on a hash.
        ends = [("any end", ""), *((str(one), one) for one in Status)]
        self.status = Dropdown(options=ends, description="Ended", style=FITTING)
        scopes = [("this project", False), ("every project", True)]
        self.scope = Dropdown(options=scopes, description="Of", style=FITTING)
        for field in (self.filter, self.status, self.scope):
            field.observe(lambda change: self._from_the_top(), "value")
        heading = f"{_columns('when', 'ended', 'took')}\tcommand"
        self.rows = Rows(self._pressed, self._turned, heading=heading, empty="Nothing was run that this would find.")
        self.details = VBox(layout={"display": "none", "width": "100%"})
        self.show(line(self.filter, self.status, self.scope), self.rows, self.details)

    def _from_the_top(self) -> None:
        self._before, self._later = [None], False
        self._refresh.ask()

    def _turned(self, step: int) -> None:
        self._steps.append(step)
        self._refresh.ask()

    def _turn(self, step: int) -> None:
        if step > 0 and self._later:
            self._before.append(self._page[-1].id)
        elif step < 0 and len(self._before) > 1:
            self._before.pop()

    def changed(self, change: Change) -> None:
        """Keeps the page in step with whatever is run in this session."""
        if isinstance(change, SettingsChanged):
            self._from_the_top()
        elif not isinstance(change, Closed):
            self._refresh.ask()

    async def _load(self) -> None:
        if not self._steps:
            await self._read()
        while self._steps:
            self._turn(self._steps.popleft())
            await self._read()

    async def _read(self) -> None:
        before = self._before
        project = None if self.scope.value else self.client.project
        found = await self.aside(
            partial(
                self.client.get_execution_history,
                project,
                status=self.status.value or None,
                text=self.filter.value.strip() or None,
                limit=PAGE + 1,
                before=before[-1],
            )
        )
        self._page, self._later = found[:PAGE], len(found) > PAGE
        self._show_rows()

    def _show_rows(self) -> None:
        with self.rows.drawing:
            first = (len(self._before) - 1) * PAGE + 1
            where = f"{first:,} to {first + len(self._page) - 1:,}, newest first"
            chosen = self._chosen.id if self._chosen else None
            rows = [_row(record, chosen=record.id == chosen) for record in self._page]
            self.rows.show_page(rows, where=where, earlier=len(self._before) > 1, later=self._later)

    def _pressed(self, place: int) -> None:
        if place < len(self._page):
            self.choose(self._page[place])

    def choose(self, record: ExecutionResult) -> None:
        """Shows an execution's details."""
        self._chosen = record
        if not self.details.children:
            self._build_details()
        self._facts.value = _facts(record)
        self._output.show_result(record)
        self._magic.value = as_magic(record, self.client.project)
        self._magic.rows = max(2, self._magic.value.count("\n") + 1)  # one long line needs two on a narrow page
        self.details.layout.display = None
        self._show_rows()

    def _build_details(self) -> None:
        self._facts: Any = HTML()
        self._output = OutputBox("Output of the past command")
        self._magic = Textarea(description="As a magic", continuous_update=False, style=FITTING, rows=1)
        run, edit = lambda run, record: run.rerun(record), lambda run, record: run.use(record)
        self.again_button = button(
            "Run again", "Run it now, in its project and directory", lambda: self._use(run), icon="refresh"
        )
        self.use_button = button("Edit", "Put it into the Run tab's fields", lambda: self._use(edit), icon="pencil")
        self.close_button = button("Close", "Fold these details", self._fold)
        buttons = line(self.again_button, self.use_button, self.close_button)
        self.details.children = (self._facts, buttons, self._output, self._magic)

    def _use(self, act: Callable[[RunPanel, ExecutionResult], None]) -> None:
        if self._chosen is None:
            return
        if self._run is None:
            self._run = RunPanel(self.client)
            self.children = (*self.children, self._run)
        self._turn_to_run()
        act(self._run, self._chosen)

    def _fold(self) -> None:
        self._chosen = None
        self.details.layout.display = "none"
        self._refresh.ask()


def _columns(when: str, how: str, took: str) -> str:
    return f"{when:>10}  {how:<11}  {took:>7}"


def _row(record: ExecutionResult, *, chosen: bool) -> Row:
    how = f"exit {record.exit_code}" if record.exit_code else str(record.status)
    took = "cached" if record.cached else "" if record.status is Status.PENDING else f"{record.duration:.2f} s"
    command = record.command[:_COMMAND]
    return Row(command, command, chosen, _columns(ago(record.started_at), how, took))


def _facts(record: ExecutionResult) -> str:
    pending = record.status is Status.PENDING
    where = f"{record.project} on {record.backend or 'no sandbox'} {record.sandbox_id}"
    facts = {
        "Command": f'<span class="e2b-source">{html.escape(record.command)}</span>',
        "Ended": f"has run for {span(time.time() - record.started_at)}" if pending else ended(record),
        "Ran": html.escape(f"{ago(record.started_at)} in project {where}"),
        "Directory": html.escape(record.cwd or ""),
        "Variables": html.escape(", ".join(record.env_names)),
        "Id": record.id,
    }
    return card(facts)
