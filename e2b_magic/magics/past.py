"""`%e2b history` and `show`: what was run."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Final

from IPython.core.error import UsageError

from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.context import Context
from e2b_magic.magics.display import Card, Column, Table, pairs
from e2b_magic.magics.options import PROJECT, seconds, whole_number
from e2b_magic.quantities import ago, remaining, span

if TYPE_CHECKING:
    from e2b_magic.records import ExecutionResult

STATUSES: Final = ("pending", "success", "failed", "error", "interrupted", "timeout")
"""The values of `records.Status`, written out: to import the records takes a fifth of the loading's time."""
ID_SHOWN: Final = 8
"""How many of an id's last characters a table shows: enough to tell a week's executions apart."""


def wanted_records(context: Context, arguments: argparse.Namespace) -> list[ExecutionResult]:
    """Gives the past executions that `FILTERS` and `at_most` leave."""
    from e2b_magic.records import Status

    client = context.client
    return client.get_execution_history(
        None if arguments.all else arguments.project or client.project,
        status=None if arguments.status is None else Status(arguments.status),
        text=arguments.text or None,
        since=None if arguments.since is None else time.time() - arguments.since,
        limit=arguments.limit,
        before=None if arguments.before is None else client.get_execution(arguments.before).id,
    )


def history(context: Context, arguments: argparse.Namespace) -> Table[ExecutionResult]:
    """Gives past executions."""
    columns = _COLUMNS if arguments.all else tuple(column for column in _COLUMNS if column.title != "project")
    records = wanted_records(context, arguments)
    full = len(records) == arguments.limit
    note = f"The next page: %e2b history --before {records[-1].id[-ID_SHOWN:]}" if full else ""
    return Table(records, columns, empty="Nothing was run that this would find.", note=note)


def chosen_record(context: Context, execution_id: str | None) -> ExecutionResult:
    """Gives the execution of an id, or of its last letters; the current project's newest when there is none."""
    client = context.client
    if execution_id is not None:
        return client.get_execution(execution_id)
    recent = client.get_execution_history(client.project, limit=1)
    if not recent:
        raise UsageError(f"There is nothing to look back at: nothing was run in project {client.project!r} yet")
    return recent[0]


def show(context: Context, arguments: argparse.Namespace) -> ExecutionResult:
    """Shows a past execution with its output, and gives its record."""
    record = chosen_record(context, arguments.id)
    print(f"{_details(record)}\n", flush=True)  # before a notebook shows the standard error, which does not wait for it
    printer = context.printer()
    printer.replay(record)
    printer.finish()
    return record


def _kept(record: ExecutionResult) -> str:
    from e2b_magic.store import RESULT_LIFETIME  # here, since loading the magics needs no store

    return remaining(record.started_at + RESULT_LIFETIME - time.time())


def _details(record: ExecutionResult) -> Card:
    ended = f"{record.status}, {span(record.duration)}" if record.duration >= 1 else str(record.status)
    return pairs(
        {
            "id": record.id,
            "command": record.command,
            "project": record.project,
            "ran": f"{ago(record.started_at)} on {record.backend or 'no sandbox'} {record.sandbox_id}".strip(),
            "ended": ended if record.exit_code is None else f"{ended}, exit {record.exit_code}",
            "error": record.error,
            "directory": record.cwd,
            "user": record.user,
            "variables": ", ".join(record.env_names),
            "kept for": _kept(record),
            "cached": f"as run {ago(record.cached_at)}" if record.cached_at else None,
        }
    )


def recent_ids(context: Context) -> list[str]:
    """Gives how the latest executions of the current project can be named."""
    client = context.client
    return [record.id[-ID_SHOWN:] for record in client.get_execution_history(client.project, limit=20)]


def _exit(record: ExecutionResult) -> str:
    return "" if record.exit_code is None else str(record.exit_code)


_COLUMNS: Final[tuple[Column[ExecutionResult], ...]] = (
    Column("id", lambda record: record.id[-ID_SHOWN:]),
    Column("when", lambda record: ago(record.started_at), right=True),
    Column("status", lambda record: str(record.status)),
    Column("exit", _exit, right=True),
    Column("took", lambda record: "cached" if record.cached else f"{record.duration:.2f} s", right=True),
    Column("kept for", _kept, right=True),
    Column("project", lambda record: record.project),
    Column("command", lambda record: record.command),
)


def at_most(summary: str, default: int | None = None) -> Argument:
    """Gives the option that says how many executions are wanted."""
    return Argument(names=("-n", "--limit"), metavar="N", convert=whole_number, default=default, summary=summary)


FILTERS: Final = (
    PROJECT,
    Argument(names=("--all",), summary="of every project"),
    Argument(
        names=("--status",),
        metavar="STATUS",
        choices=STATUSES,
        summary="only what ended so",
    ),
    Argument(names=("--since",), metavar="TIME", convert=seconds, summary="only the last 30m, 2h, 3d"),
    Argument(
        names=("--before",),
        metavar="ID",
        complete=recent_ids,
        summary="only what is older than this one, for the next page",
    ),
)
"""The options that choose among past executions, beside `at_most`."""

COMMANDS = (
    Command(
        name="history",
        summary="List what was run, newest first",
        run=history,
        arguments=(
            *FILTERS,
            at_most("how many; 20 at first", default=20),
            Argument(names=("text",), metavar="TEXT", summary="only commands that contain it"),
        ),
        examples=("%e2b history", "failed = %e2b history --all --status failed --since 1d pytest"),
        notes=(
            "The value is a list of ExecutionResult, output included; `to_frame()` makes a DataFrame of it.",
            "History is kept for seven days.",
        ),
    ),
    Command(
        name="show",
        summary="Show what was run once more, output and all",
        run=show,
        arguments=(
            Argument(
                names=("id",),
                metavar="ID",
                complete=recent_ids,
                summary="an id from the history, or its last letters; the newest when left out",
            ),
        ),
        examples=("%e2b show", "r = %e2b show 3f9a21c0"),
    ),
)
