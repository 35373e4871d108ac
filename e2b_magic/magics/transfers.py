"""`%e2b put`, `get` and `sync`: files and trees between this machine and the sandbox."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.context import Context
from e2b_magic.magics.options import PROJECT, USER, local_paths, remote_paths
from e2b_magic.quantities import counted, size
from e2b_magic.terminal import one_line

if TYPE_CHECKING:
    from e2b_magic.records import TransferResult

WATCH_EVERY: Final = 1.0
"""How often `sync --watch` looks for changes, in seconds."""
_SHOWN_LEFT_OUT: Final = 5


def put(context: Context, arguments: argparse.Namespace) -> None:
    """Brings a file or directory into the sandbox."""
    _tell("Put", _bring(context, arguments, "put", context.client.upload, arguments.local, arguments.remote))


def get(context: Context, arguments: argparse.Namespace) -> None:
    """Brings a file or directory of the sandbox here."""
    _tell("Got", _bring(context, arguments, "get", context.client.download, arguments.remote, arguments.local))


def sync(context: Context, arguments: argparse.Namespace) -> None:
    """Brings what has changed, once, or for as long as the cell runs."""
    _tell("Brought", _sync(context, arguments))
    if not arguments.watch:
        return
    print(f"Watching {arguments.local}: interrupt to stop")
    try:
        while True:
            time.sleep(WATCH_EVERY)
            result = _sync(context, arguments)
            if result.files or result.removed:
                _tell("Brought", result)
    except KeyboardInterrupt:
        # The way out that the line above names, and no failure: what comes after the cell is to run.
        print("Stopped watching")


def _sync(context: Context, arguments: argparse.Namespace) -> TransferResult:
    return _bring(
        context,
        arguments,
        "sync",
        context.client.upload_changes,
        arguments.local,
        arguments.remote,
        gitignore=not arguments.all,
        delete=arguments.delete,
        checksum=arguments.checksum,
    )


def _bring(
    context: Context,
    arguments: argparse.Namespace,
    word: str,
    verb: Callable[..., TransferResult],
    origin: str,
    goal: str | None,
    **options: Any,
) -> TransferResult:
    """Brings what is at one place to the other under a bar that says how far it has got."""
    with context.progress_bar(f"{word} {origin}") as bar:
        return verb(
            origin,
            goal,
            exclude=arguments.exclude,
            on_progress=bar,
            project=arguments.project,
            user=arguments.user,
            on_event=context.printer(),
            **options,
        )


def _tell(verb: str, result: TransferResult) -> None:
    removed = f", removed {counted(result.removed, 'file')}" if result.removed else ""
    what = f"{counted(result.files, 'file')} ({size(result.size)})"
    print(f"{verb} {what}{removed}: {one_line(result.path)} in {result.duration:.1f} s")
    for line in result.left_out[:_SHOWN_LEFT_OUT]:
        print(f"  left out: {one_line(line)}")
    if len(result.left_out) > _SHOWN_LEFT_OUT:
        print(f"  left out: {len(result.left_out) - _SHOWN_LEFT_OUT:,} more")


_LOCAL = Argument(
    names=("local",),
    metavar="LOCAL",
    summary="a file or directory of this machine",
    required=True,
    complete=local_paths,
)
_EXCLUDE = Argument(
    names=("--exclude",),
    metavar="PATTERN",
    summary="leave out what matches, in the language of .gitignore",
    default=(),
    repeat=True,
)

COMMANDS = (
    Command(
        name="put",
        summary="Bring a file or directory of this machine into the sandbox",
        run=put,
        arguments=(
            _EXCLUDE,
            PROJECT,
            USER,
            _LOCAL,
            Argument(
                names=("remote",),
                metavar="REMOTE",
                complete=remote_paths,
                summary="where it goes; the user's home, under its own name, when left out",
            ),
        ),
        examples=("%e2b put data.csv", "%e2b put --exclude *.pyc src /home/user/src"),
        notes=(
            (
                "What a local directory holds goes into the remote one. A file takes its place when all of it is "
                "there, and so does a directory that is new. Into one that is there files go one after the other once "
                "all have come: a disk that is full by then, or a Ctrl-C, leaves some of them new and some old."
            ),
        ),
    ),
    Command(
        name="get",
        summary="Bring a file or directory of the sandbox to this machine",
        run=get,
        arguments=(
            _EXCLUDE,
            PROJECT,
            USER,
            Argument(
                names=("remote",),
                metavar="REMOTE",
                summary="a path in the sandbox",
                required=True,
                complete=remote_paths,
            ),
            Argument(
                names=("local",),
                metavar="LOCAL",
                complete=local_paths,
                summary="where it goes; the working directory, under its own name, when left out",
            ),
        ),
        examples=("%e2b get results/plot.png", "%e2b get results ./results"),
        notes=("Nothing is written outside of `LOCAL`: links that lead out of it are left out and named.",),
    ),
    Command(
        name="sync",
        summary="Bring what has changed in a directory into the sandbox",
        run=sync,
        arguments=(
            Argument(names=("--delete",), summary="remove there what is no longer here"),
            Argument(names=("--checksum",), summary="compare contents, not times"),
            Argument(names=("--all",), summary="bring what .gitignore files exclude, too, and .git"),
            Argument(names=("--watch",), summary="go on until the cell is interrupted"),
            _EXCLUDE,
            PROJECT,
            USER,
            _LOCAL,
            Argument(
                names=("remote",),
                metavar="REMOTE",
                complete=remote_paths,
                summary="the directory there; the user's home, under its own name, when left out",
            ),
        ),
        examples=("%e2b sync src", "%e2b sync --delete --watch site /home/user/site"),
    ),
)
