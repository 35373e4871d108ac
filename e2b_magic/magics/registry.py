"""Every command of the magics, by name, and how a line finds the one it means."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from IPython.core.error import UsageError

from e2b_magic.magics import (
    account,
    again,
    cache,
    files,
    jobs,
    lifecycle,
    panels,
    past,
    paths,
    plugins,
    projects,
    running,
    servers,
    settings,
    setup,
    shell,
    snapshots,
    transfers,
)
from e2b_magic.magics.command import Argument, Command, did_you_mean
from e2b_magic.magics.context import Context

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


def find(line: str) -> tuple[Command, str]:
    """Gives the command that a line of `%e2b` names, and the text after its name.

    A group such as `cache` without a second word means its first command.

    Raises:
        UsageError: No command has that name.
    """
    word, rest = _first_word(line)
    if word in LINE:
        return LINE[word], rest
    group = [name for name in LINE if name.startswith(f"{word} ")]
    if not group:
        if brought := plugins.command(word):
            return brought, rest
        raise _unknown(word, line)
    second, rest = _first_word(rest)
    if not second or second in ("--help", "-h"):
        return LINE[group[0]], second
    name = f"{word} {second}"
    if name not in LINE:
        right = did_you_mean(name, group) or f": there are {', '.join(group)}"
        raise UsageError(f"Unknown subcommand {name!r}{right}")
    return LINE[name], rest


def _first_word(text: str) -> tuple[str, str]:
    parts = text.split(maxsplit=1)
    return (parts[0] if parts else "", parts[1] if len(parts) > 1 else "")


def _unknown(word: str, line: str) -> UsageError:
    if word.startswith("-"):
        return UsageError(f"%e2b takes a subcommand before {word}: %e2b help lists them")
    near = did_you_mean(word, names())
    if near:
        return UsageError(f"Unknown subcommand {word!r}{near}")
    return UsageError(f"Unknown subcommand {word!r}: to run it in the sandbox write %e2b run {line.strip()}")


def names() -> list[str]:
    """Gives the first words that may follow `%e2b`, in the order of the help."""
    return list(dict.fromkeys([*(name.split()[0] for name in LINE), *foreign()]))


def foreign() -> dict[str, EntryPoint]:
    """Gives what other packages declare, by name; a name of ours stays ours."""
    own = {name.split()[0] for name in LINE}
    return {name: entry for name, entry in plugins.declared().items() if name not in own}


def _help(context: Context, arguments: argparse.Namespace) -> None:
    from e2b_magic.magics import help as help_texts

    topic = arguments.topic
    if not topic:
        print(help_texts.index())
        return
    command, rest = (CELL[topic], "") if topic in CELL else find(topic)
    if rest:
        raise UsageError(f"%e2b help does not take {rest!r}: write %e2b help {command.name}")
    print(help_texts.explain(command))


_HELP = Command(
    name="help",
    summary="List the commands, or explain one",
    run=_help,
    raw=Argument(
        names=("topic",), metavar="COMMAND", summary="the command to explain", complete=lambda _: [*names(), *CELL]
    ),
    examples=("%e2b help run",),
)

GROUPS: Final[dict[str, tuple[Command, ...]]] = {
    "Commands": (*running.COMMANDS, *jobs.COMMANDS, *shell.COMMANDS),
    "Files": (*files.COMMANDS, *paths.COMMANDS, *transfers.COMMANDS),
    "What was run": (*past.COMMANDS, *again.COMMANDS, *cache.COMMANDS),
    "Setups and dev servers": (*setup.COMMANDS, *servers.COMMANDS),
    "Projects and their sandboxes": (*projects.COMMANDS, *lifecycle.COMMANDS, *snapshots.COMMANDS),
    "Panels, settings and help": (*panels.COMMANDS, *settings.COMMANDS, *account.COMMANDS, _HELP),
}
"""The commands by subject, in the order of the help."""
ALL: Final[tuple[Command, ...]] = tuple(command for group in GROUPS.values() for command in group)
LINE: Final[dict[str, Command]] = {command.name: command for command in ALL if not command.name.startswith("%")}
CELL: Final[dict[str, Command]] = {command.name: command for command in ALL if command.name.startswith("%")}
