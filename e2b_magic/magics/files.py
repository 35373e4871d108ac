"""`%%e2b_file`, `%e2b read`, `ls` and `rm`: the sandbox's files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from e2b_magic.exceptions import RemoteFileNotFoundError, RemotePathError
from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.context import Context
from e2b_magic.magics.display import Column, Content, Table, Text
from e2b_magic.magics.options import PATH, PROJECT, USER, byte_count, permission_bits, remote_paths
from e2b_magic.magics.paths import name_of
from e2b_magic.quantities import ago, size
from e2b_magic.terminal import one_line

if TYPE_CHECKING:
    from e2b_magic.records import FileEntry


def write(context: Context, arguments: argparse.Namespace) -> None:
    """Writes the cell to a file."""
    content = context.expander.template(arguments.body) if arguments.template else arguments.body
    entry = context.client.write_file(
        arguments.path,
        content,
        project=arguments.project,
        user=arguments.user,
        append=arguments.append,
        mode=arguments.mode,
        on_event=context.printer(),
    )
    verb = "Appended to" if arguments.append else "Wrote"
    print(f"{verb} {one_line(entry.path)} ({size(entry.size)})")


def read(context: Context, arguments: argparse.Namespace) -> Text | Content:
    """Gives a file's text, or its bytes."""
    client, limit = context.client, arguments.limit
    where = {"project": arguments.project, "user": arguments.user}
    if limit is not None:
        where["limit"] = limit
    if arguments.bytes:
        return Content(client.read_file(arguments.path, on_event=context.printer(), **where))
    return Text(client.read_text(arguments.path, on_event=context.printer(), **where))


def list_files(context: Context, arguments: argparse.Namespace) -> Table[FileEntry]:
    """Gives a directory's entries, or a file's own."""
    where = {"project": arguments.project, "user": arguments.user, "on_event": context.printer()}
    path = arguments.path or "~"
    try:
        entries = context.client.list_files(path, **where)
    except RemotePathError:
        directory, slash, name = path.rpartition("/")
        entries = [one for one in context.client.list_files(directory or slash or "~", **where) if one.name == name]
        if not entries:
            raise
    return Table(entries, _COLUMNS, empty="The directory is empty.")


def remove(context: Context, arguments: argparse.Namespace) -> None:
    """Removes a file, or a directory."""
    try:
        entry = context.client.remove_file(
            arguments.path,
            recursive=arguments.recursive,
            project=arguments.project,
            user=arguments.user,
            on_event=context.printer(),
        )
    except RemoteFileNotFoundError:
        if not arguments.force:
            raise
        print(f"There was nothing at {one_line(arguments.path)}")
    else:
        print(f"Removed {one_line(entry.path)}")


_COLUMNS: Final[tuple[Column[FileEntry], ...]] = (
    Column("mode", lambda entry: entry.permissions),
    Column("owner", lambda entry: entry.owner),
    Column("size", lambda entry: "" if entry.type == "dir" else size(entry.size), right=True),
    Column("changed", lambda entry: ago(entry.modified_at)),
    Column("name", name_of),
)

COMMANDS = (
    Command(
        name="read",
        summary="Give the text of a file in the sandbox",
        run=read,
        arguments=(
            Argument(names=("--bytes",), summary="give bytes: for what is not UTF-8 text"),
            Argument(
                names=("--limit",),
                metavar="SIZE",
                convert=byte_count,
                summary="the largest file to read: 5000, 300kB, 1GB; 64 MiB when left out",
            ),
            PROJECT,
            USER,
            PATH,
        ),
        examples=("%e2b read results/summary.txt", "logo = %e2b read --bytes logo.png"),
    ),
    Command(
        name="ls",
        summary="List a directory in the sandbox, or a file alone",
        run=list_files,
        arguments=(
            Argument(names=("-l", "-a", "--all"), summary="as in the shell; all is listed in full anyway"),
            PROJECT,
            USER,
            Argument(
                names=("path",),
                metavar="PATH",
                complete=remote_paths,
                summary="the directory or file; the user's home when left out",
            ),
        ),
        examples=("%e2b ls", "entries = %e2b ls /tmp"),
        notes=("The value is a list of FileEntry.",),
    ),
    Command(
        name="rm",
        summary="Remove a file in the sandbox",
        run=remove,
        arguments=(
            Argument(names=("-r", "--recursive"), summary="remove a directory with all in it"),
            Argument(names=("-f", "--force"), summary="let there be nothing to remove"),
            PROJECT,
            USER,
            PATH,
        ),
        examples=("%e2b rm notes.txt", "%e2b rm -rf build"),
    ),
    Command(
        name="%%e2b_file",
        summary="Write the cell to a file in the sandbox, making the directories above it",
        run=write,
        arguments=(
            Argument(names=("--append",), summary="add to the file's end"),
            Argument(
                names=("--mode",),
                metavar="BITS",
                convert=permission_bits,
                summary="the permission bits, as for chmod: 755",
            ),
            Argument(names=("--template",), summary="fill in each {expression}; write a brace that is meant twice"),
            PROJECT,
            USER,
            PATH,
        ),
        examples=(
            "%%e2b_file shapes/circle.py\nimport math\n\ndef area(radius):\n    return math.pi * radius**2",
            "%%e2b_file --mode 755 --template run.sh\n#!/bin/sh\nexec python3 {script} --seed {seed}",
        ),
        notes=("Without `--template` the text is written as it stands, braces and all.",),
    ),
)
