"""`%e2b rerun` and `export`: a past command once more, and the history as a file that other programs read."""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from IPython.core.error import UsageError

from e2b_magic.exceptions import CommandError
from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.context import Context
from e2b_magic.magics.display import Text
from e2b_magic.magics.options import environment, local_paths, seconds, values_of
from e2b_magic.magics.past import FILTERS, at_most, chosen_record, recent_ids, wanted_records
from e2b_magic.quantities import counted
from e2b_magic.terminal import one_line

if TYPE_CHECKING:
    from e2b_magic.records import ExecutionResult


def rerun(context: Context, arguments: argparse.Namespace) -> ExecutionResult:
    """Runs a past command once more and gives its result."""
    record = chosen_record(context, arguments.id)
    raises = context.raise_on_error and not arguments.no_raise
    printer = context.printer()
    print(f"Again in project {record.project}: {one_line(record.command)}", flush=True)
    try:
        result = context.client.rerun_execution(
            record,
            envs=values_of(arguments.env, context),
            timeout=context.timeout if arguments.timeout is None else arguments.timeout,
            on_event=printer,
        )
    except CommandError as error:
        if raises or error.result is None:
            raise
        return error.result
    finally:
        printer.finish()
    if raises and not result.ok:
        from e2b_magic.results import failure_of  # here, as most commands need none

        raise failure_of(result)
    return result


def export(context: Context, arguments: argparse.Namespace) -> Text | None:
    """Writes past executions to a file of this machine, or gives the text."""
    path = None if arguments.file is None else Path(arguments.file).expanduser()
    kind = arguments.format or ("json" if path is None else _KINDS.get(path.suffix))
    if kind is None:
        raise UsageError(
            f"%e2b export: {path} does not say what to write: end it in .json, .csv or .sh, or use --format"
        )
    records = wanted_records(context, arguments)
    text = _WRITERS[kind](records)
    if path is None:
        return Text(text)
    _write_whole(path, text, replace=arguments.force)
    print(f"Wrote {counted(len(records), 'execution')} to {path}")
    return None


def _write_whole(path: Path, text: str, *, replace: bool) -> None:
    """Writes a file that is there whole, or not at all.

    Raises:
        UsageError: It is there already, or cannot be written.
    """
    import tempfile

    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600: commands may hold secrets
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as part:
                part.write(text)
            if replace:
                Path(name).replace(path)
            else:
                os.link(name, path)  # which fails where the file is, without a moment between the look and the deed
        finally:
            Path(name).unlink(missing_ok=True)
    except FileExistsError:
        raise UsageError(f"%e2b export: {path} is there already: choose another name, or --force") from None
    except OSError as error:
        raise UsageError(f"%e2b export: cannot write {path}: {error.strerror}") from None


def _as_json(records: Sequence[ExecutionResult]) -> str:
    return json.dumps([record.to_json() for record in records], indent=2, ensure_ascii=False) + "\n"


def _as_csv(records: Sequence[ExecutionResult]) -> str:
    import csv

    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, _CSV, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for record in records:
        row = record.to_json()
        writer.writerow({**row, "started_at": _moment(record), "env_names": " ".join(record.env_names)})
    return table.getvalue()


def _as_script(records: Sequence[ExecutionResult]) -> str:
    """Gives a bash script that does the same again, oldest first; what cannot be known is left to be filled in."""
    blocks = ["#!/usr/bin/env bash\nset -e"]
    for record in reversed(records):
        notes = [f"# {_moment(record)}, project {record.project}, {record.status}"]
        notes += [f"# export {name}=…  its value is not kept" for name in record.env_names]
        notes += ["# it read an input, which is not kept"] if record.had_input else []
        where = f"cd {shlex.quote(record.cwd)}\n" if record.cwd else ""
        notes.append(f"(\n{where}{record.command.rstrip()}\n)")
        blocks.append("\n".join(notes))
    return "\n\n".join(blocks) + "\n"


def _moment(record: ExecutionResult) -> str:
    return datetime.fromtimestamp(record.started_at).astimezone().isoformat(timespec="seconds")


_CSV: Final = (
    "id", "started_at", "project", "status", "exit_code", "duration", "cached", "command", "cwd", "user", "env_names",
    "sandbox_id", "backend", "error",
)  # fmt: skip
_WRITERS: Final[dict[str, Callable[[Sequence[ExecutionResult]], str]]] = {
    "json": _as_json,
    "csv": _as_csv,
    "script": _as_script,
}
_KINDS: Final = {".json": "json", ".csv": "csv", ".sh": "script", ".bash": "script"}

COMMANDS = (
    Command(
        name="rerun",
        summary="Run a past command once more",
        run=rerun,
        arguments=(
            environment("a variable that it had: their values are kept nowhere"),
            Argument(names=("--timeout",), metavar="TIME", convert=seconds, summary="kill it after: 90, 30s, 5m"),
            Argument(names=("--no-raise",), summary="give the result of a command that fails, instead of an error"),
            Argument(
                names=("id",),
                metavar="ID",
                complete=recent_ids,
                summary="an id from the history, or its last letters; the newest when left out",
            ),
        ),
        examples=("%e2b rerun", "r = %e2b rerun --env TOKEN 3f9a21c0"),
        notes=("Text, project, directory and user are the same; the answer is never the store's.",),
    ),
    Command(
        name="export",
        summary="Write the history to a file: JSON, CSV, or a script that does it all again",
        run=export,
        arguments=(
            Argument(
                names=("--format",),
                metavar="FORMAT",
                choices=tuple(_WRITERS),
                summary="what to write; by the file's ending when left out",
            ),
            Argument(names=("--force",), summary="replace a file that is there"),
            *FILTERS,
            at_most("only the newest N; all when left out"),
            Argument(names=("--text",), metavar="TEXT", summary="only commands that contain it"),
            Argument(
                names=("file",),
                metavar="FILE",
                complete=local_paths,
                summary="the file; the text is the value when left out",
            ),
        ),
        examples=("%e2b export --all week.json", "%e2b export --status success again.sh"),
        notes=("JSON holds the output too. For a DataFrame: `h = %e2b history`, then `h.to_frame()`.",),
    ),
)
