"""The whole panel: every tab over one client, each made when it is first looked at."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from typing import Final

from ipywidgets import HTML, Box, Tab

from e2b_magic.client import Client
from e2b_magic.client.changes import Change, Closed
from e2b_magic.config import EMBEDDED
from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.panels.files import FilesPanel
from e2b_magic.panels.history import HistoryPanel
from e2b_magic.panels.run import RunPanel
from e2b_magic.panels.sandbox import SandboxPanel
from e2b_magic.panels.server import ServerPanel
from e2b_magic.panels.settings import SettingsPanel
from e2b_magic.panels.view import Refresh, View
from e2b_magic.quantities import span

TABS: Final = ("run", "files", "history", "server", "sandbox", "settings")
"""The tabs' names, in their order."""


class Panel(View):
    """A sandbox to look at and to work with, in tabs.

    Args:
        client: Whose state to show; the kernel's client when left out.
        tab: The tab to begin with, one of `TABS`.

    Raises:
        InvalidRequestError: There is no such tab.
    """

    def __init__(self, client: Client | None = None, tab: str = "run") -> None:
        if tab not in TABS:
            raise InvalidRequestError(f"There is no tab {tab!r}: use one of {', '.join(TABS)}")
        super().__init__(client)
        self._made: dict[str, View] = {}
        self._heading = HTML()
        self._refresh = Refresh(self, self._tell_where, pause=0.3)
        self.tabs = Tab([Box(layout={"width": "100%"}) for _ in TABS], titles=[name.capitalize() for name in TABS])
        self.tabs.add_class("e2b-tabs")
        self.turn_to(tab)
        self.tabs.observe(lambda change: self._look_at(change["new"]), "selected_index")
        self.show(self._heading, self.tabs)
        self._refresh.ask()

    @property
    def run(self) -> RunPanel:
        """The *Run* tab."""
        made = self._tab("run")
        assert isinstance(made, RunPanel)  # noqa: S101  what _make says
        return made

    def turn_to(self, tab: str) -> None:
        """Shows a tab."""
        self._tab(tab)
        self.tabs.selected_index = TABS.index(tab)

    def _look_at(self, place: int | None) -> None:
        for name, made in self._made.items():
            made.looked_at(place is not None and name == TABS[place])
        if place is not None:
            self._tab(TABS[place]).looked_at(True)

    def _tab(self, name: str) -> View:
        if name not in self._made:
            self._made[name] = made = self._make(name)
            self.tabs.children[TABS.index(name)].children = (made,)
        return self._made[name]

    def _make(self, name: str) -> View:
        makers: dict[str, Callable[[], View]] = {
            "run": lambda: RunPanel(self.client),
            "files": lambda: FilesPanel(self.client),
            "history": lambda: HistoryPanel(self.client, run=self.run, turn_to_run=lambda: self.turn_to("run")),
            "server": lambda: ServerPanel(self.client),
            "sandbox": lambda: SandboxPanel(self.client),
            "settings": lambda: SettingsPanel(self.client),
        }
        return makers[name]()

    def changed(self, change: Change) -> None:
        """Keeps the heading in step."""
        if not isinstance(change, Closed):
            self._refresh.ask()

    async def _tell_where(self) -> None:
        project = await self.aside(self.client.get_project_info)
        backend = self.client.configuration.backend
        where = "on this machine" if backend == EMBEDDED else backend
        known = project.sandbox_id and project.backend == backend
        left = project.sandbox_expires_at - time.time()
        if known and (project.paused or left > 0):
            sandbox = f"sandbox {project.sandbox_id}, {'paused' if project.paused else f'{span(left)} left'}"
        else:
            sandbox = "no sandbox now: the next command makes one"
        self._heading.value = (
            f'<span class="e2b-quiet">Project</span> <strong>{html.escape(project.name)}</strong> '
            f'<span class="e2b-quiet">{html.escape(where)} · {html.escape(sandbox)}</span>'
        )
