"""The *Run* tab: a command, its output as it comes, and how it ended."""

from __future__ import annotations

import html
import time
from typing import Any, Final

from ipywidgets import HTML, Accordion, Checkbox, Combobox, Text, VBox

from e2b_magic.client import Client
from e2b_magic.client.changes import Change, ExecutionChanged, SettingsChanged
from e2b_magic.client.executor import Executor
from e2b_magic.client.options import CommandOptions, Unseen
from e2b_magic.exceptions import CommandFailedError, CommandInterruptedError, E2BMagicError, InvalidRequestError
from e2b_magic.panels.controls import FITTING, button, line
from e2b_magic.panels.environment import Environment
from e2b_magic.panels.escape import ends, escape
from e2b_magic.panels.fields import on_enter
from e2b_magic.panels.output import OutputBox
from e2b_magic.panels.view import Refresh, Ticker, View
from e2b_magic.quantities import ago, to_seconds
from e2b_magic.records import ExecutionResult, Status
from e2b_magic.terminal import one_line

RECALLED: Final = 30
"""How many different past commands the command's field offers."""
_LONGEST: Final = 500  # of a command that is offered, in characters
_PRESSED_TWICE: Final = 1.0  # within as many seconds the same command is no second one, but a double click


class RunPanel(View):
    """Runs commands in the current project's sandbox.

    Args:
        client: Whose sandboxes to use; the kernel's client when left out.

    Attributes:
        executor: What runs the commands: observe it to follow them.
    """

    def __init__(self, client: Client | None = None) -> None:
        super().__init__(client)
        self.executor = Executor(self.client)
        self._began = 0.0
        self._latest: tuple[str, CommandOptions] | None = None
        self._build()
        self._recall = Refresh(self, self._recollect, pause=0.5)
        self._elapsed = Ticker(self, self._tell_state, period=0.5)
        self._state = Refresh(self, self._tell_state)
        self._text = Refresh(self, self._tell_output)
        self.executor.observe(lambda change: self._text.ask(), "output")
        self.executor.observe(lambda change: self._state.ask(), ["running", "result", "error", "progress"])
        on_enter(self.command, self.run)
        self._past = self._past_commands()
        self._offer_past()

    def _build(self) -> None:
        self.command = Combobox(
            description="Command", placeholder="such as git --version", continuous_update=False, style=FITTING
        )
        self.run_button = button("Run", "Run the command (Enter)", self.run, icon="play", button_style="primary")
        told = "End the command and its children (Escape)"
        self.stop_button = ends(button("Stop", told, self.executor.cancel, icon="stop"))
        again = "Run the last command, even if its result is stored"
        self.again_button = button("Run again", again, self.run_again, icon="refresh", disabled=True)
        self.stop_button.disabled = True
        self.status = HTML()
        self.output = OutputBox("Output of the command")
        commands = line(self.command, self.run_button, self.stop_button, self.again_button)
        self.show(escape(), commands, self._options(), self.status, self.output)

    def _options(self) -> Any:
        settings = {"continuous_update": False, "style": FITTING}
        self.directory = Text(description="Directory", placeholder="the user's home", **settings)
        self.timeout = Text(description="Time limit", placeholder="none; or 30s, 5m", **settings)
        self.stored = Checkbox(value=True, description="Answer from stored results", indent=False)
        self.environment = Environment(self)
        fields = line(self.directory, self.timeout, self.stored)
        return Accordion([VBox([fields, self.environment])], titles=("Options",), selected_index=None)

    def run(self) -> None:
        """Runs the command that the field holds, with the options that are set."""
        self._offer_past()
        self._begin(self.command.value, refresh=False)

    def run_again(self) -> None:
        """Runs the last command once more, though its result may be stored."""
        if self._latest is not None:
            command, options = self._latest
            self._attempt(command, {**options, "refresh": True})

    def use(self, record: ExecutionResult) -> None:
        """Puts a past command into the fields, to be changed or run."""
        self._offer_past()
        self.command.value = record.command
        self.directory.value = record.cwd or ""
        missing = [name for name in record.env_names if name not in self.environment.values]
        if missing:
            self.message.say(f"The values of variables are not kept: give {', '.join(missing)} again under Options")

    def rerun(self, record: ExecutionResult) -> None:
        """Runs a past command again, in its own project and directory, though its result may be stored."""
        self.use(record)
        if not all(name in self.environment.values for name in record.env_names):
            return
        envs = Unseen({name: self.environment.values[name] for name in record.env_names})
        options: CommandOptions = {"project": record.project, "cwd": record.cwd, "user": record.user, "refresh": True}
        self._attempt(record.command, {**options, "envs": envs})

    def _begin(self, command: str, *, refresh: bool) -> None:
        try:
            limit = to_seconds(self.timeout.value) if self.timeout.value.strip() else None
        except ValueError as error:
            self.message.fail(InvalidRequestError(f"Time limit: {error}"))
            return
        options: CommandOptions = {
            "project": self.client.project,
            "cwd": self.directory.value.strip() or None,
            "timeout": limit,
            "use_cache": self.stored.value,
            "refresh": refresh,
        }
        self._attempt(command, {**options, "envs": self.environment.values})

    def _attempt(self, command: str, options: CommandOptions) -> None:
        if self.executor.running:
            self._refuse(command)
            return
        self.message.clear()
        began, self._began = self._began, time.monotonic()
        try:
            self.executor.run(command, **options)
        except E2BMagicError as error:
            self._began = began
            self.message.fail(error)
            return
        self._latest = (command, options)
        self._state.ask()  # a stored result has ended by now, and Run again is allowed from here on

    def _refuse(self, command: str) -> None:
        again = self._latest is not None and command == self._latest[0]
        if again and time.monotonic() - self._began < _PRESSED_TWICE:
            return
        self.message.fail(InvalidRequestError("A command runs here already: Stop or Escape ends it"))

    async def _tell_state(self) -> None:
        executor = self.executor
        running = executor.running
        self.run_button.disabled, self.stop_button.disabled = running, not running
        self.again_button.disabled = running or self._latest is None
        if running:
            self._elapsed.start()
            self.status.value = _running(time.monotonic() - self._began, executor.progress)
            return
        self._elapsed.stop()
        stopped = isinstance(executor.error, CommandInterruptedError)  # without a record, where it had not begun yet
        self.status.value = ended(executor.result) if executor.result else _stopped() if stopped else ""
        # A failed command and a stopped one say so in the state; what else went wrong needs a line of its own.
        if executor.error is not None and not isinstance(executor.error, CommandFailedError | CommandInterruptedError):
            self.message.fail(executor.error)
        elif executor.result is not None and executor.progress:
            self.message.say(executor.progress)  # such as that the sandbox had ended and was made anew

    async def _tell_output(self) -> None:
        self.output.show_pieces(self.executor.output, dropped=self.executor.dropped)
        await self.output.carried()

    async def _recollect(self) -> None:
        self._past = await self.aside(self._past_commands)

    def _past_commands(self) -> list[str]:
        records = self.client.get_execution_history(self.client.project, limit=4 * RECALLED)
        commands = dict.fromkeys(one_line(record.command) for record in records if "\n" not in record.command)
        return [command for command in commands if len(command) <= _LONGEST][:RECALLED]

    def _offer_past(self) -> None:
        # Only where the kernel has what the field holds: with new options the front end puts the field back to the text
        # that the kernel knows, whatever is being typed.
        self.command.options = self._past

    def changed(self, change: Change) -> None:
        """Has what was run anywhere in this session offered from the next command on."""
        if isinstance(change, ExecutionChanged | SettingsChanged):
            self._recall.ask()

    def close(self) -> None:
        """Ends the panel, and the command that runs in it."""
        self.executor.unobserve_all()
        if self.executor.running:
            self.executor.cancel()
        super().close()


def _status(badge: str, *told: str) -> str:
    return f'<span role="status">{badge} {" · ".join(told)}</span>'


def _badge(text: str, tone: str = "") -> str:
    """Gives a word in a box; its tone is one of the style sheet's."""
    return f'<span class="e2b-badge {tone}">{text}</span>'


def _running(seconds: float, progress: str) -> str:
    told = [html.escape(one_line(progress))] if progress else []
    return _status(_badge("running"), f"{seconds:.0f} s", *told)


def _stopped() -> str:
    return _status(_badge("stopped", "e2b-bad"))


def ended(record: ExecutionResult) -> str:
    """Gives in HTML how a command ended: its exit code, its time, whether the answer is a stored one."""
    if record.exit_code is not None:
        how = f"exit {record.exit_code}"
    else:
        how = {Status.INTERRUPTED: "stopped", Status.TIMEOUT: "time limit"}.get(record.status, str(record.status))
    if record.cached:
        told = [f"{_badge('cached')} as run {ago(record.cached_at or record.started_at)}"]
    else:
        told = [f"{record.duration:.2f} s"]
    if record.error and record.exit_code is None:
        told.append(html.escape(one_line(record.error)))
    if record.truncated:
        told.append("the record leaves out the middle of a very long output")
    return _status(_badge(how, "e2b-good" if record.ok else "e2b-bad"), *told)
