"""A past command as the magic that runs it again, to be copied into a cell."""

from __future__ import annotations

import shlex

from e2b_magic.records import ExecutionResult


def as_magic(record: ExecutionResult, project: str) -> str:
    """Gives the cell that runs a command again.

    Args:
        record: The command's record.
        project: The current project, which need not be named.
    """
    options = []
    if record.project != project:
        options += ["--project", record.project]
    for name, value in (("--cwd", record.cwd), ("--user", record.user)):
        options += [name, shlex.quote(value)] if value else []
    for variable in record.env_names:
        options += ["--env", variable]
    command = record.command
    # Of a line IPython and the magic expand `{…}` and `$…`; of a cell's body nothing.
    if any(character in command for character in "\n{$") or command != command.strip():
        return f"{' '.join(['%%e2b', *options])}\n{command}"
    return " ".join(["%e2b run", *options, *(["--"] if command.startswith("-") else []), command])
