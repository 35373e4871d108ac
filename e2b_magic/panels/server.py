"""The *Server* tab: a project set up from a template, its dev servers and other jobs, their logs and pages."""

from __future__ import annotations

import html
from concurrent.futures import Future
from typing import Final

from ipywidgets import HTML, Dropdown, Text, VBox

from e2b_magic.client import Client
from e2b_magic.client.changes import Change, JobChanged, ProjectChanged, SettingsChanged
from e2b_magic.client.transcript import Transcript
from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.panels.controls import FITTING, button, line
from e2b_magic.panels.fields import on_enter
from e2b_magic.panels.output import CHARACTERS, LINES, OutputBox
from e2b_magic.panels.rows import Row, Rows
from e2b_magic.panels.view import Refresh, View, under_way
from e2b_magic.project_templates import template_names
from e2b_magic.quantities import ago
from e2b_magic.records import BackgroundJob
from e2b_magic.worker.protocol import Event, Output, Progress

SHOWN: Final = 20
"""How many jobs are listed, newest first."""


class ServerPanel(View):
    """Starts dev servers, shows what they write and leads to their pages.

    Args:
        client: Whose sandboxes to use; the kernel's client when left out.
    """

    def __init__(self, client: Client | None = None) -> None:
        super().__init__(client)
        self._jobs: list[BackgroundJob] = []
        self._chosen: BackgroundJob | None = None
        self._transcript = Transcript(CHARACTERS)
        self._setting_up: Future[None] | None = None
        self._starting: Future[None] | None = None
        self._following: Future[None] | None = None
        self._refresh = Refresh(self, self._load, pause=0.5)
        self._text = Refresh(self, self._show_log)
        self._build()
        self._refresh.ask()

    def _build(self) -> None:
        settings = {"continuous_update": False, "style": FITTING}
        project = self.client.get_project_info()
        self.template = Dropdown(options=template_names(), description="Template", style=FITTING)
        bring = "Bring the template's files into the project, and install what they need"
        self.setup_button = button("Set up", bring, self.set_up, icon="cubes")
        example = "such as python3 -m http.server $PORT"
        self.command = Text(description="Server", placeholder=example, **settings)
        self.port = Text(value=str(project.port or 8000), description="Port", **settings)
        self.command.value = project.dev
        self.port.layout.flex = "0 1 110px"
        told = "Start it in the project's directory, and wait until its port answers"
        self.start_button = button("Start", told, self.begin, icon="play", button_style="primary")
        self.stop_button = button("Stop", "End the chosen server and all that it started", self._stop, icon="stop")
        self.stop_button.disabled = True
        refresh = button("Refresh", "Ask the sandbox again", self._refresh.ask, icon="refresh")
        heading = f"{_columns('state', 'port', 'began')}\tcommand"
        self.rows = Rows(self._pressed, lambda step: None, heading=heading, empty="")
        self.link = HTML()
        self.output = OutputBox("Log of the server")
        on_enter(self.command, self.begin)
        hidden = {"display": "none", "width": "100%"}
        self.details = VBox([line(self.link, self.stop_button), self.output], layout=hidden)
        self.show(
            line(self.template, self.setup_button),
            line(self.command, self.port, self.start_button, refresh),
            self.rows,
            self.details,
        )

    def set_up(self) -> None:
        """Brings a template's files into the current project; files that were edited there are left alone."""
        if under_way(self._setting_up):
            return
        self.message.clear()
        self._follow_nothing()
        self._setting_up = self.start(lambda: self._set_up(self.template.value))

    async def _set_up(self, template: str) -> None:
        self.setup_button.disabled, self.details.layout.display = True, None
        name = self.client.project
        self.message.say(f"Setting up {name} from {template}")
        try:
            project = await self.aside(lambda: self.client.setup_project(name, template=template, on_event=self._take))
        finally:
            self.setup_button.disabled = False
        self.command.value, self.port.value = project.dev, str(project.port or self.port.value)
        self.message.say(f"{name} is set up in {project.path}" + (": Start serves it" if project.dev else ""))

    def begin(self) -> None:
        """Starts the server that the fields name; one that has the port is replaced."""
        if under_way(self._starting):
            return
        self.message.clear()
        port = self.port.value.strip()
        if not port.isdecimal():
            self.message.fail(InvalidRequestError(f"{port!r} is no port: write a number such as 8000"))
            return
        self._follow_nothing()
        self._starting = self.start(lambda: self._begin(self.command.value, int(port)))

    async def _begin(self, command: str, port: int) -> None:
        self.start_button.disabled, self.stop_button.disabled = True, False
        self.details.layout.display = None
        self.message.say(f"Starting, until port {port} answers; Stop gives up")
        try:
            job = await self.client.astart_dev_server(command, port, on_event=self._take)
        finally:
            self.start_button.disabled, self.stop_button.disabled = False, True  # choose allows it again
        self.message.say(f"The server answers on port {port}")
        self.choose(job)

    def _take(self, event: Event) -> None:
        if isinstance(event, Output):
            self._transcript.append(event.stream, event.text)
            self._text.ask()
        elif isinstance(event, Progress):
            self.message.say(event.text)

    def _stop(self) -> None:
        if self._starting is not None and under_way(self._starting):
            self._starting.cancel()
            self.message.say("Given up; the server is ended")
        elif (job := self._chosen) is not None:
            self.start(lambda: self._stop_job(job))

    async def _stop_job(self, job: BackgroundJob) -> None:
        ended = await self.client.astop_job(job)
        self.message.say(f"Job {ended.id} {ended.outcome}")
        self._refresh.ask()

    def changed(self, change: Change) -> None:
        """Keeps in step with whatever starts or ends a job."""
        if self.visible and (
            isinstance(change, JobChanged | SettingsChanged) or change == ProjectChanged(self.client.project)
        ):
            self._refresh.ask()

    def looked_at(self, now: bool) -> None:
        """Asks for the jobs when the tab is turned to."""
        super().looked_at(now)
        if now:
            self._refresh.ask()

    async def _load(self) -> None:
        self._jobs = list(reversed(await self.client.aget_background_jobs()))[:SHOWN]
        chosen = self._chosen
        if chosen is not None:
            self._chosen = next((job for job in self._jobs if job.id == chosen.id), chosen)
        self._show_rows()

    def _show_rows(self) -> None:
        with self.rows.drawing:
            self._show_jobs(self._chosen)

    def _show_jobs(self, chosen: BackgroundJob | None) -> None:
        rows = [_row(job, chosen=chosen is not None and job.id == chosen.id) for job in self._jobs]
        self.rows.show_page(rows, where="", earlier=False, later=False)
        if not rows:
            self.rows.tell("No server and no background job was started in this project's sandbox.")
        if chosen is not None:
            self.link.value = _link(chosen)
            self.stop_button.disabled = not chosen.running

    def _pressed(self, place: int) -> None:
        if place < len(self._jobs):
            self.message.clear()
            self.choose(self._jobs[place])

    def choose(self, job: BackgroundJob) -> None:
        """Shows a job's log, and follows it."""
        self._follow_nothing()
        self._chosen = job
        self.details.layout.display = None
        self._show_rows()
        self._following = self.start(lambda: self._follow(job))

    def _follow_nothing(self) -> None:
        if self._following is not None:
            self._following.cancel()
        self._chosen, self._transcript = None, Transcript(CHARACTERS)
        self.link.value, self.stop_button.disabled = "", True
        self._text.ask()

    async def _follow(self, job: BackgroundJob) -> None:
        await self.client.afollow_log(job, lines=LINES, on_event=self._take)
        self._refresh.ask()

    async def _show_log(self) -> None:
        self.output.show_pieces(self._transcript.pieces(), dropped=self._transcript.dropped)
        await self.output.carried()


def _columns(state: str, port: str, began: str) -> str:
    return f"{state:<9}  {port:>5}  {began:>10}"


def _row(job: BackgroundJob, *, chosen: bool) -> Row:
    command, state = job.command[:300], job.outcome.replace("exited with code", "exit")
    return Row(command, command, chosen, _columns(state, str(job.port or ""), ago(job.started_at)))


def _link(job: BackgroundJob) -> str:
    if not (job.running and job.url and job.url.startswith(("http://", "https://"))):
        return html.escape(f"Job {job.id} {job.outcome}")
    address = html.escape(job.url, quote=True)
    # Its own origin, in a page of its own: what the sandbox serves is not to run beside the notebook.
    return f'Its page: <a href="{address}" target="_blank" rel="noopener noreferrer">{address}</a>'
