"""The arguments that several commands share, and how a text becomes their value."""

from __future__ import annotations

import argparse
import keyword
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from IPython.core.error import UsageError

from e2b_magic.magics.command import Argument
from e2b_magic.magics.context import Context
from e2b_magic.quantities import to_seconds

_PLAIN = re.compile(r"[^\w./~@%+=:,-]")  # what a word may not hold unprotected
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMG]?)B?")
_FACTORS = {"": 1, "k": 1000, "K": 1000, "M": 1000**2, "G": 1000**3}


def project_names(context: Context) -> Iterable[str]:
    """Gives the names of the projects that anything is stored of, and the current one."""
    client = context.client
    return sorted({client.project, *(project.name for project in client.get_projects())})


def remote_paths(context: Context) -> Iterable[str]:
    """Gives the paths in the project's sandbox that begin as the word does, as far as they are known at once."""
    directory, slash, _ = context.word.rpartition("/")
    base = context.given.get("--cwd", "~")
    inside = _unescaped(directory)
    where = inside + slash if inside.startswith(("/", "~")) or (slash and not inside) else f"{base}/{inside}"
    names = context.client.peek_directory(where.rstrip("/") or "/", context.given.get("--project"))
    return _completed(context.word, names)


def local_paths(context: Context) -> Iterable[str]:
    """Gives the paths of this machine that begin as the word does, directories with a slash."""
    directory, slash, begun = _unescaped(context.word).rpartition("/")
    try:
        with os.scandir(Path(directory + slash).expanduser()) as entries:
            # Before it is asked what each is, which a link's target is looked up for.
            fitting = [one for one in entries if one.name.startswith(begun)]
            names = sorted(f"{one.name}/" if one.is_dir() else one.name for one in fitting)
    except (OSError, RuntimeError):  # there is no such directory, or no such user's home
        return []
    return _completed(context.word, names)


def _completed(word: str, names: Iterable[str]) -> list[str]:
    """Gives what a path that is being written may become, by the names in its directory; hidden ones when asked for."""
    directory, slash, begun = word.rpartition("/")
    shown = (name for name in names if begun.startswith(".") or not name.startswith("."))
    return [f"{directory}{slash}{_PLAIN.sub(_escaped, name)}" for name in shown]


def _escaped(match: re.Match[str]) -> str:
    return f"\\{match[0]}"


def _unescaped(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word)


def seconds(text: str) -> float:
    """Gives a span such as `90`, `30s`, `5m` or `2h` in seconds."""
    try:
        return to_seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def byte_count(text: str) -> int:
    """Gives a size such as `5000`, `300kB` or `1.5GB` in bytes."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write bytes, or 300kB, 20MB, 1GB")
    return int(float(match[1]) * _FACTORS[match[2]])


def whole_number(text: str) -> int:
    """Gives a number of things, at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def port_number(text: str) -> int:
    """Gives a port's number."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: write a number between 1 and 65535")
    return int(text)


def permission_bits(text: str) -> int:
    """Gives permission bits written as for chmod: `755`."""
    try:
        bits = int(text, 8)
    except ValueError:
        bits = -1
    if not 0 <= bits <= 0o7777:
        raise argparse.ArgumentTypeError(f"{text!r} are no permission bits: write them as for chmod, such as 755")
    return bits


class Secret(str):
    """A text that shows itself masked: `%xmode Verbose` prints the variables of every frame an error came through."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


def variable(text: str) -> tuple[str, Secret | None]:
    """Gives the name and value that `NAME=VALUE` says, or the name alone, whose value is found when it is used.

    The error text does not hold the value: it may be a secret.
    """
    name, equals, value = text.partition("=")
    if not name.isidentifier():
        raise argparse.ArgumentTypeError("write NAME=VALUE, or NAME alone to hand on a variable of that name")
    return name, Secret(value) if equals else None


def values_of(variables: Iterable[tuple[str, Secret | None]], context: Context) -> dict[str, str]:
    """Gives each variable's value: as written, else the notebook's text of that name, else the environment's.

    Raises:
        UsageError: There is none.
    """
    found: dict[str, str] = {}
    for name, value in variables:
        mine = context.namespace.get(name)
        if value is not None:
            found[name] = value
        elif isinstance(mine, str):
            found[name] = Secret(mine)
        elif name in os.environ:
            found[name] = Secret(os.environ[name])
        else:
            raise UsageError(
                f"{name} is neither a text of this notebook's nor set in this kernel's environment: write {name}=VALUE"
            )
    return found


def variable_name(text: str) -> str:
    """Gives the name of one of the user's variables."""
    if not text.isidentifier() or keyword.iskeyword(text):
        raise argparse.ArgumentTypeError(f"{text!r} cannot name a variable")
    return text


def user_variables(context: Context) -> Iterable[str]:
    """Gives the names of the user's own variables that a command can read: text, bytes, lines, frames and results."""

    def readable(value: object) -> bool:
        # By its name, since Tab imports no records; and no attribute is asked for, which may be anybody's code.
        return isinstance(value, str | bytes | list | tuple) or type(value).__name__ in ("DataFrame", "ExecutionResult")

    return sorted(_names(context, readable))


def variable_names(context: Context) -> Iterable[str]:
    """Gives the names, and never the values, of what `--env NAME` hands on: the notebook's texts, the environment's."""
    texts = _names(context, lambda value: isinstance(value, str))
    return sorted({*texts, *filter(str.isidentifier, os.environ)})


def _names(context: Context, fits: Callable[[object], bool]) -> list[str]:
    """Gives the names of the user's own variables whose values fit."""
    return [name for name, value in context.namespace.items() if not name.startswith("_") and fits(value)]


def environment(summary: str) -> Argument:
    """Gives the option that hands variables to what is run, each with a value or by its name alone."""
    return Argument(
        names=("-e", "--env"),
        metavar="NAME[=VALUE]",
        complete=variable_names,
        convert=variable,
        repeat=True,
        summary=summary,
    )


def working_directory(summary: str) -> Argument:
    """Gives the option that says where in the sandbox something is run."""
    return Argument(names=("--cwd",), metavar="DIR", complete=remote_paths, summary=summary)


PROJECT = Argument(
    names=("-p", "--project"),
    metavar="NAME",
    summary="the project whose sandbox is meant; the current one when left out",
    complete=project_names,
)
USER = Argument(
    names=("--user",), metavar="USER", summary="the user inside the sandbox", complete=lambda _: ("user", "root")
)
PROJECT_WORD = Argument(
    names=("name",),
    metavar="NAME",
    summary="the project; the current one when left out",
    complete=project_names,
)
PATH = Argument(
    names=("path",),
    metavar="PATH",
    complete=remote_paths,
    summary="a path in the sandbox: absolute, or relative to the user's home",
    required=True,
)
