"""The *Sandbox* tab: whether the project's sandbox is alive, for how long, and its end."""

from __future__ import annotations

import html
import time
from typing import Final

from ipywidgets import HTML

from e2b_magic.client import Client
from e2b_magic.client.changes import Change, ProjectChanged, SettingsChanged
from e2b_magic.panels.ask import Ask
from e2b_magic.panels.controls import button, card, line
from e2b_magic.panels.view import Refresh, Ticker, View
from e2b_magic.quantities import span
from e2b_magic.records import SandboxState

_STATES: Final = {
    "none": "none yet: the first command makes one",
    "gone": "ended, its files with it: the next command makes a new one",
}


class SandboxPanel(View):
    """Shows the current project's sandbox and ends it.

    Args:
        client: Whose sandboxes to show; the kernel's client when left out.
    """

    def __init__(self, client: Client | None = None) -> None:
        super().__init__(client)
        self._state: SandboxState | None = None
        self._refresh = Refresh(self, self._load, pause=0.5)
        self._clock = Ticker(self, self._tell_time, period=1.0)
        self.facts = HTML()
        self.left = HTML()
        self.ask = Ask(self)
        kill = "End the sandbox, its files with it"
        self.kill_button = button("Kill", kill, self._ask_to_kill, icon="trash", disabled=True)
        refresh = button("Refresh", "Ask the server again", self._refresh.ask, icon="refresh")
        self.show(self.facts, self.left, line(self.kill_button, refresh), self.ask)
        self._refresh.ask()

    def looked_at(self, now: bool) -> None:
        """Asks the server when the tab is turned to, and lets the clock rest when it is not seen."""
        super().looked_at(now)
        if now:
            self._refresh.ask()
        else:
            self._clock.stop()

    def changed(self, change: Change) -> None:
        """Keeps in step with whatever makes, moves or ends a sandbox."""
        if self.visible and (change == ProjectChanged(self.client.project) or isinstance(change, SettingsChanged)):
            self._refresh.ask()

    async def _load(self) -> None:
        self._state = state = await self.client.aget_sandbox_status()
        facts = {
            "Project": state.project,
            "State": _STATES.get(state.state, state.state),
            "Sandbox": state.sandbox_id,
            "Backend": state.backend,
            "Template": state.template,
        }
        self.facts.value = card({name: html.escape(value) for name, value in facts.items()})
        running = state.state == "running"
        self.kill_button.disabled = not running
        if running and self.visible:
            self._clock.start()
        else:
            self._clock.stop()
        await self._tell_time()

    async def _tell_time(self) -> None:
        state = self._state
        left = state.expires_at - time.time() if state else 0.0
        alive = state is not None and state.state == "running"
        ends = f'<span role="timer">ends in <strong>{_clock(left)}</strong> unless it is used</span>'
        self.left.value = ends if alive else ""

    def _ask_to_kill(self) -> None:
        project = self.client.project
        question = f"End the sandbox of project {project}, its files with it?"
        self.ask.for_yes(question, "Kill", lambda: self.start(lambda: self._kill(project)))

    async def _kill(self, project: str) -> None:
        killed = await self.client.akill_sandbox(project)
        self.message.say(f"Ended sandbox {', '.join(killed)}" if killed else f"Project {project} has no sandbox")


def _clock(seconds: float) -> str:
    if seconds <= 0:
        return "a moment"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 120 else span(seconds)
