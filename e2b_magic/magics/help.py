"""A command's explanation, as text for `%e2b help` and as Markdown for the reference page."""

from __future__ import annotations

import re
import textwrap
from typing import Final

from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.display import aligned
from e2b_magic.magics.registry import ALL, GROUPS, foreign

WIDTH: Final = 98
"""How wide a command's help is, in characters: a notebook's cell in half a screen."""
_MORE: Final = "%e2b help COMMAND says more of one; so does %e2b COMMAND --help."


def index() -> str:
    """Gives every command's name and summary, by subject."""
    groups = {title: [[one.invocation, one.summary] for one in group] for title, group in GROUPS.items()}
    if others := [[f"%e2b {name}", f"Of {entry.module}"] for name, entry in foreign().items()]:
        groups["Of other packages"] = others
    lines = iter(aligned([row for rows in groups.values() for row in rows], [False, False]).splitlines())
    parts = ["\n".join([title, *(f"  {next(lines)}" for _ in rows)]) for title, rows in groups.items()]
    return "\n\n".join([*parts, _MORE])


def explain(command: Command) -> str:
    """Gives a command's help."""
    rows = [(f"  {spelled(argument)}  ", argument.summary) for argument in _arguments(command)]
    parts = [f"{_wrapped(command.usage, ' ' * 6)}\n{command.summary}."]
    if rows:
        width = max(len(name) for name, _ in rows)
        parts.append("\n".join(_wrapped(name.ljust(width) + summary, " " * width) for name, summary in rows))
    parts.extend(_wrapped(note.replace("`", "")) for note in command.notes)
    if command.examples:
        parts.append("Examples:\n" + "\n\n".join(_indented(example) for example in command.examples))
    return "\n\n".join(parts)


def markdown() -> str:
    """Gives the reference of all commands."""
    return "\n".join(_section(command) for command in ALL)


def spelled(argument: Argument) -> str:
    """Gives how an argument is written, with all its names."""
    if not argument.is_option:
        return argument.metavar
    return " ".join(filter(None, [", ".join(argument.names), argument.metavar]))


def _arguments(command: Command) -> list[Argument]:
    return [*command.arguments, *([command.raw] if command.raw is not None else [])]


def _wrapped(text: str, indent: str = "") -> str:
    """Gives a text in lines, those after the first indented; an option and its value stay together."""
    # A cell would break the lines anywhere. textwrap breaks at spaces, but not at this one.
    kept = re.sub(r"(\[[^\s\]]+) (\S+\])", "\\1\xa0\\2", text)
    lines = textwrap.wrap(kept, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\xa0", " ")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())


def _section(command: Command) -> str:
    lines = [f"### `{command.invocation}`", "", f"{command.summary}.", "", "```", command.usage, "```", ""]
    if rows := [(spelled(argument), argument) for argument in _arguments(command)]:
        lines += ["| | |", "|---|---|"]
        lines += [f"| `{name}` | {_cell(argument)} |" for name, argument in rows]
        lines.append("")
    for note in command.notes:
        lines += [note, ""]
    for example in command.examples:
        lines += ["```", example, "```", ""]
    return "\n".join(lines)


def _cell(argument: Argument) -> str:
    choices = f" ({', '.join(argument.choices)})" if argument.choices else ""
    return f"{argument.summary}{choices}".replace("|", "\\|")
