"""`%e2b cat`, `edit`, `tree`, `find`, `mv`, `cp` and `mkdir`: the sandbox's files as a shell's user handles them."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from IPython.core.error import UsageError

from e2b_magic.exceptions import RemoteFileNotFoundError
from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.context import Context
from e2b_magic.magics.display import ROWS, Column, PrettyPrinter, Table
from e2b_magic.magics.options import PATH, PROJECT, USER, remote_paths, whole_number
from e2b_magic.quantities import ago, counted, size
from e2b_magic.terminal import one_line

if TYPE_CHECKING:
    from e2b_magic.records import FileEntry, Found

EDITABLE: Final = 200_000
"""The largest file that is put into a cell, in bytes."""
_OWN: Final = ".e2b-magic"
"""The directory in a sandbox's homes in which e2b-magic keeps jobs and setups: listed, but not shown in a tree."""
LEVELS: Final = 3
"""How many levels `tree` shows unless told otherwise."""


def cat(context: Context, arguments: argparse.Namespace) -> None:
    """Prints a file."""
    from e2b_magic.worker.protocol import Output

    printer = context.printer()
    text = context.client.read_text(
        arguments.path, project=arguments.project, user=arguments.user, on_event=context.printer()
    )
    printer(Output("stdout", text))
    printer.finish()


def edit(context: Context, arguments: argparse.Namespace) -> None:
    """Puts a file into the next cell, to be changed and run."""
    where = {"project": arguments.project, "user": arguments.user}
    try:
        text = context.client.read_text(arguments.path, limit=EDITABLE, on_event=context.printer(), **where)
    except RemoteFileNotFoundError:
        print(f"{one_line(arguments.path)} is not there yet: the next cell makes it")
        text = ""
    if "\0" in text or "\r" in text:
        raise UsageError(
            f"%e2b edit: {one_line(arguments.path)} holds characters that a cell would not keep (NUL, or \\r at line "
            "ends): read it into a variable instead, as in text = %e2b read PATH"
        )
    options = [f"--{name} {shlex.quote(value)}" for name, value in where.items() if value]
    head = " ".join(["%%e2b_file", *options, "--", _cell_word(arguments.path)])
    context.next_cell(f"{head}\n{text or chr(10)}")


def _cell_word(path: str) -> str:
    """Gives a path as the magics' scanner reads it back: quoted, its braces protected."""
    return shlex.quote(path) if "{" not in path else '"' + "".join(_protected(one) for one in path) + '"'


def _protected(character: str) -> str:
    return f"\\{character}" if character in '"\\$`{' else character


def tree(context: Context, arguments: argparse.Namespace) -> Tree:
    """Gives what lies below a directory."""
    found = context.client.find_files(
        arguments.path or "~",
        depth=arguments.depth,
        project=arguments.project,
        user=arguments.user,
        on_event=context.printer(),
    )
    return Tree(found)


class Tree(Table["FileEntry"]):
    """The entries below a directory, shown as a tree.

    Args:
        found: The entries, by path.
    """

    def __init__(self, found: Found) -> None:
        super().__init__(found, _FOUND, empty="The directory is empty.")
        self.more = found.more

    def __str__(self) -> str:
        if not self:
            return super().__str__()
        children: dict[str, list[FileEntry]] = {}
        shown = [entry for entry in self if _OWN not in entry.path.split("/")]
        for entry in shown[:ROWS]:
            children.setdefault(entry.path.rpartition("/")[0], []).append(entry)
        top = min(entry.path.rpartition("/")[0] for entry in self)
        lines = [one_line(top or "/"), *_branches(children, top, "")]
        if self.more or len(shown) > ROWS:
            known = f"{len(shown) - ROWS:,} more" if len(shown) > ROWS and not self.more else "more"
            lines.append(f"… and {known}: --depth 1, or a directory's own tree, shows less at once")
        return "\n".join(lines)

    def _repr_pretty_(self, printer: PrettyPrinter, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        import html

        return f"<pre>{html.escape(str(self))}</pre>"


def _branches(children: dict[str, list[FileEntry]], path: str, indent: str) -> Iterable[str]:
    inside = children.get(path, [])
    for number, entry in enumerate(inside, start=1):
        last = number == len(inside)
        yield f"{indent}{'└── ' if last else '├── '}{one_line(name_of(entry))}"
        yield from _branches(children, entry.path, indent + ("    " if last else "│   "))


def name_of(entry: FileEntry) -> str:
    """Gives an entry's name as it is shown: a directory's with a slash, a link's with where it leads."""
    if entry.symlink_target is not None:
        return f"{entry.name} -> {entry.symlink_target}"
    return f"{entry.name}/" if entry.type == "dir" else entry.name


def find(context: Context, arguments: argparse.Namespace) -> Table[FileEntry]:
    """Gives the entries below a directory that match."""
    found = context.client.find_files(
        arguments.path or "~",
        name=arguments.name,
        kind=arguments.type,
        depth=arguments.depth,
        limit=arguments.limit,
        project=arguments.project,
        user=arguments.user,
        on_event=context.printer(),
    )
    if found.more:
        print(f"There are more than {counted(len(found), 'match', 'matches')}: narrow the search, or raise --limit")
    return Table(found, _FOUND, empty="Nothing matches.")


def move(context: Context, arguments: argparse.Namespace) -> None:
    """Moves a file or directory."""
    entry = context.client.rename_file(
        arguments.path, arguments.to, project=arguments.project, user=arguments.user, on_event=context.printer()
    )
    print(f"Moved to {one_line(entry.path)}")


def copy(context: Context, arguments: argparse.Namespace) -> None:
    """Copies a file or directory."""
    entry = context.client.copy_file(
        arguments.path,
        arguments.to,
        recursive=arguments.recursive,
        project=arguments.project,
        user=arguments.user,
        on_event=context.printer(),
    )
    print(f"Copied to {one_line(entry.path)}")


def make_directory(context: Context, arguments: argparse.Namespace) -> None:
    """Makes a directory."""
    entry = context.client.make_directory(
        arguments.path, project=arguments.project, user=arguments.user, on_event=context.printer()
    )
    print(f"Made {one_line(entry.path)}")


_FOUND: Final[tuple[Column[FileEntry], ...]] = (
    Column("size", lambda entry: "" if entry.type == "dir" else size(entry.size), right=True),
    Column("changed", lambda entry: ago(entry.modified_at)),
    Column("path", lambda entry: f"{entry.path}/" if entry.type == "dir" else entry.path),
)
_DIRECTORY = Argument(
    names=("path",),
    metavar="PATH",
    complete=remote_paths,
    summary="the directory; the user's home when left out",
)
_TO = Argument(
    names=("to",),
    metavar="TO",
    required=True,
    complete=remote_paths,
    summary="the new path; in a directory that is there, the name is kept",
)

COMMANDS = (
    Command(
        name="cat",
        summary="Print a file of the sandbox",
        run=cat,
        arguments=(PROJECT, USER, PATH),
        examples=("%e2b cat results/summary.txt",),
        notes=("`%e2b read` gives the text as a value instead.",),
    ),
    Command(
        name="edit",
        summary="Put a file of the sandbox into the next cell, which writes it back when it is run",
        run=edit,
        arguments=(PROJECT, USER, PATH),
        examples=("%e2b edit config.toml",),
    ),
    Command(
        name="tree",
        summary="Show what lies below a directory of the sandbox",
        run=tree,
        arguments=(
            PROJECT,
            USER,
            Argument(
                names=("--depth",),
                metavar="N",
                convert=whole_number,
                default=LEVELS,
                summary="how many levels; 3 at first",
            ),
            _DIRECTORY,
        ),
        examples=("%e2b tree", "%e2b tree --depth 1 /usr/local"),
        notes=("The value is a list of FileEntry.",),
    ),
    Command(
        name="find",
        summary="Search a directory of the sandbox, with all below it",
        run=find,
        arguments=(
            PROJECT,
            USER,
            Argument(names=("--name",), metavar="PATTERN", summary="only names that match, as in the shell: *.py"),
            Argument(names=("--type",), metavar="TYPE", choices=("file", "dir"), summary="only these"),
            Argument(names=("--depth",), metavar="N", convert=whole_number, summary="how many levels down to look"),
            Argument(
                names=("--limit",),
                metavar="N",
                convert=whole_number,
                default=1000,
                summary="how many at most; 1000 at first",
            ),
            _DIRECTORY,
        ),
        examples=("%e2b find --name *.py src", "large = [one for one in _ if one.size > 1e6]"),
        notes=("The value is a list of FileEntry, by path.",),
    ),
    Command(
        name="mv",
        summary="Move or rename a file or directory in the sandbox",
        run=move,
        arguments=(PROJECT, USER, PATH, _TO),
        examples=("%e2b mv draft.txt final.txt",),
    ),
    Command(
        name="cp",
        summary="Copy a file or directory in the sandbox",
        run=copy,
        arguments=(
            Argument(names=("-r", "--recursive"), summary="copy a directory with all in it"),
            PROJECT,
            USER,
            PATH,
            _TO,
        ),
        examples=("%e2b cp -r src backup",),
    ),
    Command(
        name="mkdir",
        summary="Make a directory in the sandbox, and those above it",
        run=make_directory,
        arguments=(
            # Without its -p, which everybody's fingers write for --parents: it would make a sandbox of that name.
            replace(PROJECT, names=("--project",)),
            Argument(names=("-p", "--parents"), summary="as in the shell; those above are made without it too"),
            USER,
            PATH,
        ),
        examples=("%e2b mkdir data/raw",),
    ),
)
