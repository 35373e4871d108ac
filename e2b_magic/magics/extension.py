"""The magics themselves: from IPython's call to a command's function, and the options for `%config E2BMagics`."""

from __future__ import annotations

import sys
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_cell_magic, magics_class, needs_local_scope, no_var_expand
from traitlets import Bool, Float, TraitError, Unicode, observe, validate

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.magics import registry
from e2b_magic.magics.command import Command, HelpWanted
from e2b_magic.magics.completion import matcher
from e2b_magic.magics.context import Context
from e2b_magic.magics.errors import errors_in_one_line


@magics_class
class E2BMagics(Magics):
    """`%e2b`, `%%e2b` and `%%e2b_file`.

    Args:
        settings: `shell`, and what a `Configurable` takes.
    """

    shell: InteractiveShell

    cache = Bool(True, help="Whether commands may be answered from the store, and are stored.").tag(config=True)
    project = Unicode("default", help="The current project; `%e2b use` sets it too.").tag(config=True)
    template = Unicode(
        None, allow_none=True, help="What a new project's sandbox is made from; the environment's, or base, when None."
    ).tag(config=True)
    timeout = Float(
        None, allow_none=True, help="Seconds after which a command is killed unless it names its own; None lets it run."
    ).tag(config=True)
    raise_on_error = Bool(True, help="Whether a command that fails raises, so that Run All stops.").tag(config=True)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._configured = dict(self.config.get("E2BMagics", {}))  # by IPython's files and command line, so far
        self.matcher = matcher(lambda: self._context(self.shell.user_ns))

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def e2b(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> object:
        """Runs commands in a sandbox: `%e2b run ls`, or a whole cell with `%%e2b`; `%e2b help` lists the rest."""
        if cell is not None:
            return self._call(registry.CELL["%%e2b"], line, local_ns, cell)
        if not line.strip() or line.strip() in ("--help", "-h"):
            self._overview()
            return None
        command, rest = registry.find(line)
        return self._call(command, rest, local_ns)

    @no_var_expand
    @needs_local_scope
    @cell_magic
    def e2b_file(self, line: str, cell: str, local_ns: Mapping[str, Any] | None = None) -> object:
        """Writes the cell to a file in the sandbox: `%%e2b_file PATH`; `%e2b help %%e2b_file` says more."""
        return self._call(registry.CELL["%%e2b_file"], line, local_ns, cell)

    def announce(self, result: object) -> None:
        """Says, when a cell is over, which background jobs have ended; IPython calls this after every cell."""
        if "e2b_magic.client" not in sys.modules:  # then no job was ever started
            return
        from e2b_magic.magics.jobs import announcements

        for line in announcements():
            print(line)

    def _context(self, namespace: Mapping[str, Any]) -> Context:
        return Context(
            use_cache=self.cache,
            timeout=self.timeout,
            raise_on_error=self.raise_on_error,
            namespace=namespace,
            settings=self._settings,
            assign=self._assign,
            next_cell=self.shell.set_next_input,
            remember_project=self._remember_project,
        )

    def _settings(self) -> list[tuple[str, Any, str]]:
        from e2b_magic.magics.settings import DEFAULT, HERE

        found = []
        for name, trait in sorted(self.traits(config=True).items()):
            value, source = getattr(self, name), HERE
            if name in self._configured and self._configured[name] == value:
                source = "IPython's configuration"
            elif value == trait.default_value:
                source = DEFAULT
            found.append((name, value, source))
        return found

    def _assign(self, name: str, value: object) -> None:
        self.shell.user_ns[name] = value

    def _remember_project(self, name: str) -> None:
        self.project = name

    def _call(self, command: Command, line: str, local_ns: Mapping[str, Any] | None, body: str | None = None) -> object:
        context = self._context(ChainMap(dict(local_ns or {}), self.shell.user_ns))
        with errors_in_one_line(self.shell):
            try:
                arguments = command.parse(line, context)
            except HelpWanted:
                from e2b_magic.magics.help import explain

                print(explain(command))
                return None
            if body is not None:
                arguments.body = body
            return command.run(context, arguments)

    def _overview(self) -> None:
        from e2b_magic.magics.help import index
        from e2b_magic.magics.projects import overview

        with errors_in_one_line(self.shell):
            print(f"{overview(self._context({}))}\n\n{index()}")

    @validate("project")
    def _check_project(self, proposal: dict[str, Any]) -> str:
        from e2b_magic.worker.requests.base import check_project_name

        try:
            return check_project_name(proposal["value"])
        except InvalidRequestError as error:
            raise TraitError(str(error)) from None

    @validate("timeout")
    def _check_timeout(self, proposal: dict[str, Any]) -> float | None:
        seconds: float | None = proposal["value"]
        if seconds is not None and not 0 < seconds < float("inf"):
            raise TraitError(f"timeout must be a number of seconds above 0, or None, not {seconds!r}")
        return seconds

    @validate("template")
    def _check_template(self, proposal: dict[str, Any]) -> str | None:
        name: str | None = proposal["value"]
        if name is not None and not name.strip():
            raise TraitError("template must be a template's name, or None, not an empty text")
        return name

    @observe("template")
    def _use_template(self, change: dict[str, Any]) -> None:
        from e2b_magic.client import choose_template

        if change["new"] is not None:
            choose_template(change["new"])

    @observe("project")
    def _use_project(self, change: dict[str, Any]) -> None:
        # Not by way of the client itself: set in a configuration file, this happens while the magics are loaded, and
        # a client that cannot be made must not keep them away.
        from e2b_magic.client import choose_project

        choose_project(change["new"])


def _describe() -> None:
    """Lets `%e2b?` list the commands: IPython shows a magic's docstring."""
    from e2b_magic.magics.registry import GROUPS

    groups = (
        "\n".join([title, *(f"    {command.invocation}: {command.summary}" for command in group)])
        for title, group in GROUPS.items()
    )
    E2BMagics.e2b.__doc__ = "\n\n".join([E2BMagics.e2b.__doc__ or "", *groups, "%e2b help COMMAND explains one."])


_describe()
