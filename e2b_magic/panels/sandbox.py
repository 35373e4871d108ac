"""The *Sandbox* tab: whether the project's sandbox is alive and for how long, what it uses, and what to do with it."""

from __future__ import annotations

import html
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Final

from ipywidgets import HTML, Dropdown

from e2b_magic.client import Client
from e2b_magic.client.changes import Change, ProjectChanged, SettingsChanged
from e2b_magic.panels.ask import Ask
from e2b_magic.panels.controls import FITTING, button, card, line
from e2b_magic.panels.usage import Usage
from e2b_magic.panels.view import Refresh, Ticker, View, under_way
from e2b_magic.quantities import span
from e2b_magic.records import SandboxState

_STATES: Final = {
    "none": "none yet: the first command makes one",
    "gone": "ended, its files with it: the next command makes a new one",
    "paused": "paused, its files kept: the next command wakes it",
}
_SPANS: Final = [("15 min", 900.0), ("1 h", 3600.0), ("4 h", 14400.0), ("12 h", 43200.0)]


class SandboxPanel(View):
    """Shows the current project's sandbox, and keeps, rests, copies and ends it.

    Args:
        client: Whose sandboxes to show; the kernel's client when left out.
    """

    def __init__(self, client: Client | None = None) -> None:
        super().__init__(client)
        self._state: SandboxState | None = None
        self._doing: Future[None] | None = None
        self._refresh = Refresh(self, self._load, pause=0.5)
        self._clock = Ticker(self, self._tell_time, period=1.0)
        self.facts = HTML()
        self.left = HTML()
        self.usage = Usage(self)
        self.ask = Ask()
        self._build_buttons()
        self.show(
            self.facts,
            self.left,
            line(self.span, self.extend_button, self.pause_button, self.resume_button),
            line(self.snapshot_button, self.fork_button, self.kill_button, self.refresh_button),
            self.ask,
            self.usage,
        )
        self._allow("")
        self._refresh.ask()

    def _build_buttons(self) -> None:
        self.span = Dropdown(options=_SPANS, value=3600.0, description="Keep for", style=FITTING)
        self.extend_button = button("Extend", "Let it live at least so long from now", self._extend, icon="clock-o")
        rest = "Put it to rest: it keeps its files and costs nothing"
        self.pause_button = button("Pause", rest, lambda: self._do(self.client.apause_sandbox), icon="pause")
        self.resume_button = button("Resume", "Wake it", lambda: self._do(self.client.aresume_sandbox), icon="play")
        keep = "Keep its present state, for others to be made from"
        self.snapshot_button = button("Snapshot", keep, self._ask_to_snapshot, icon="camera")
        copy = "Give another project a copy of it as it is now"
        self.fork_button = button("Fork", copy, self._ask_to_fork, icon="code-fork")
        self.kill_button = button("Kill", "End it, its files with it", self._ask_to_kill, icon="trash")
        self.refresh_button = button("Refresh", "Ask the server again", self._refresh.ask, icon="refresh")

    def looked_at(self, now: bool) -> None:
        """Asks the server when the tab is turned to, and lets clock and plots rest while it is not seen."""
        super().looked_at(now)
        if now:
            self._refresh.ask()
        else:
            self._rest()

    def changed(self, change: Change) -> None:
        """Keeps in step with whatever makes, moves or ends a sandbox."""
        if self.visible and (change == ProjectChanged(self.client.project) or isinstance(change, SettingsChanged)):
            self._refresh.ask()

    async def _load(self) -> None:
        self._state = state = await self.client.aget_sandbox_status()
        machine = f"{state.cpu_count} CPU, {state.memory_mb:,} MiB" if state.cpu_count else ""
        facts = {
            "Project": state.project,
            "State": _STATES.get(state.state, state.state),
            "Sandbox": state.sandbox_id,
            "Backend": state.backend,
            "Template": state.template,
            "Machine": machine,
        }
        self.facts.value = card({name: html.escape(value) for name, value in facts.items()})
        self._allow(state.state)
        if state.state == "running":
            self._clock.start()
            self.usage.start(state.sandbox_id)
        # Asked after the beginning: it may have been turned to another tab just now, in the kernel's thread.
        if state.state != "running" or not self.visible:
            self._rest()
        await self._tell_time()

    def _rest(self) -> None:
        self._clock.stop()
        self.usage.stop()

    def _allow(self, state: str) -> None:
        running, alive = state == "running", state in ("running", "paused")
        for one in (self.extend_button, self.pause_button, self.snapshot_button, self.fork_button):
            one.disabled = not running
        self.resume_button.disabled = state != "paused"
        self.kill_button.disabled = not alive

    async def _tell_time(self) -> None:
        state = self._state
        left = state.expires_at - time.time() if state else 0.0
        alive = state is not None and state.state == "running"
        ends = f'<span role="timer">ends in <strong>{_clock(left)}</strong> unless it is used</span>'
        self.left.value = ends if alive else ""

    def _do(self, verb: Callable[[], Awaitable[SandboxState]]) -> None:
        if under_way(self._doing):
            return

        async def work() -> None:
            self.message.clear()
            await verb()
            self._refresh.ask()

        self._doing = self.start(work)

    def _extend(self) -> None:
        seconds: float = self.span.value
        self._do(lambda: self.client.aextend_sandbox(seconds))

    def _ask_to_snapshot(self) -> None:
        project = self.client.project
        name = f"{project.lower()}-{time.strftime('%Y%m%d-%H%M')}".replace(".", "-")
        question = "Name of the snapshot"
        self.ask.for_text(question, name, "Take", lambda text: self.start(lambda: self._snapshot(text, project)))

    async def _snapshot(self, name: str, project: str) -> None:
        snapshot = await self.client.asnapshot_sandbox(name, project)
        self.message.say(f"Took snapshot {snapshot.snapshot_id}: %e2b new --template {snapshot.snapshot_id} uses it")

    def _ask_to_fork(self) -> None:
        project = self.client.project
        question, name = "Project that gets the copy", f"{project}-copy"
        self.ask.for_text(question, name, "Fork", lambda text: self.start(lambda: self._fork(text, project)))

    async def _fork(self, to: str, project: str) -> None:
        state = await self.client.afork_sandbox(to, project)
        self.message.say(f"Project {to} has a copy, sandbox {state.sandbox_id}")

    def _ask_to_kill(self) -> None:
        project = self.client.project
        question = f"End the sandbox of project {project}, its files with it?"
        self.ask.for_yes(question, "Kill", lambda: self.start(lambda: self._kill(project)))

    async def _kill(self, project: str) -> None:
        killed = await self.client.akill_sandbox(project)
        self.message.say(f"Ended sandbox {', '.join(killed)}" if killed else f"Project {project} has no sandbox")
        self._refresh.ask()


def _clock(seconds: float) -> str:
    if seconds <= 0:
        return "a moment"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes < 120 else span(seconds)
