"""`%e2b run` and `%%e2b`: a command, or a cell as a script, in the project's sandbox."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from typing import TYPE_CHECKING, Final

from IPython.core.error import UsageError

from e2b_magic.exceptions import CommandError
from e2b_magic.magics import jobs
from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.context import Context
from e2b_magic.magics.inputs import read_variable
from e2b_magic.magics.options import (
    PROJECT,
    USER,
    environment,
    remote_paths,
    seconds,
    user_variables,
    values_of,
    variable_name,
    working_directory,
)
from e2b_magic.quantities import span

if TYPE_CHECKING:
    from e2b_magic.records import BackgroundJob, ExecutionResult

SCRIPT_LIMIT: Final = 100_000
"""The longest script that is sent as a command, in bytes: Linux takes 128 KiB in one argument (MAX_ARG_STRLEN)."""
_INLINE: Final = {"python3": "-c", "python": "-c", "node": "-e", "perl": "-e", "ruby": "-e", "sh": "-c"}
"""How programs take a script as an argument."""
_PASSING: Final = re.compile(r"(cd|pushd|export|alias|source|\.)\s[^;&|\n]*")
"""A command that does nothing but change its own shell, which ends with it."""
_INSTEAD: Final = {"cd": "--cwd DIR", "pushd": "--cwd DIR", "export": "--env NAME=VALUE"}
_LEFT_RUNNING: Final = re.compile(r"(?<![&|>\\])&\s*$")


def run(context: Context, arguments: argparse.Namespace) -> ExecutionResult | BackgroundJob:
    """Runs a command and gives its result; with `--bg` starts it and gives its job."""
    command = arguments.command
    if not arguments.bg and _LEFT_RUNNING.search(command) and ">" not in command:
        raise UsageError(
            "%e2b run: what & leaves running holds the cell as long as it may write into it: use %e2b run --bg, or "
            "send its output elsewhere (>file 2>&1 &)"
        )
    if passing := _PASSING.fullmatch(command):
        _tell_what_passes(context, passing[1])
    return _run_text(context, arguments, command, "bash", command)


def _tell_what_passes(context: Context, word: str) -> None:
    # What every user of !cd has fallen for: nothing fails, and the next command is where it was.
    from e2b_magic.worker.protocol import Progress

    instead = _INSTEAD.get(word, f"{word} … && COMMAND, or a %%e2b cell")
    context.printer()(Progress(f"[what {word} changes ends with this command's shell: use {instead}]"))


def run_cell(context: Context, arguments: argparse.Namespace) -> ExecutionResult | BackgroundJob:
    """Runs a cell as a script and gives its result; with `--bg` starts it and gives its job."""
    program, script = getattr(arguments, "with"), arguments.body
    if arguments.template:
        script = context.expander.template(script)
    if program != "bash" and arguments.stdin:
        return _execute(context, arguments, _beside_input(program, script, arguments.stdin))
    # bash -c is what runs every command, so a short script is just that; another program reads it from its input, as
    # with IPython's own %%script, which suits any interpreter. A temporary file would raise the project's revision,
    # and with that forget what is cached.
    command = script if program == "bash" else f"{program} <<< {shlex.quote(script)}"
    return _run_text(context, arguments, command, program, script)


def _beside_input(program: str, script: str, stdin: str) -> str:
    """Gives the command by which a program runs a script and has its input for something else."""
    flag = _INLINE.get(program.partition(" ")[0].rpartition("/")[2])
    command = f"{program} {flag} {shlex.quote(script)}"
    if flag is None or len(command.encode("utf-8", "surrogatepass")) > SCRIPT_LIMIT:
        raise UsageError(
            f"--stdin: {program} reads a cell such as this one from its input: write the cell to a file, with "
            f"%%e2b_file FILE, then %e2b run --stdin {stdin} {program} FILE"
        )
    return command


def _run_text(
    context: Context, arguments: argparse.Namespace, command: str, program: str, script: str
) -> ExecutionResult | BackgroundJob:
    """Runs a script as a command, or through a file when that would be too long."""
    if len(command.encode("utf-8", "surrogatepass")) <= SCRIPT_LIMIT:
        return _execute(context, arguments, command)
    return _execute(context, arguments, _upload(context, arguments, program, script), cachable=False)


def _upload(context: Context, arguments: argparse.Namespace, program: str, script: str) -> str:
    """Writes a long script to a file of the sandbox and gives the command that runs it and leaves no file behind."""
    path = f"/tmp/.e2b-magic-{os.urandom(16).hex()}"  # noqa: S108  a path inside the sandbox, and unguessable there
    context.client.write_file(path, script, project=arguments.project, user=arguments.user)
    # Opened, removed, then run: whatever ends the script, the file is gone. bash reads it beside its input, so that
    # the script's own commands do not read the script.
    if program == "bash":
        return f"{{ rm -f {path}; exec bash /dev/fd/9; }} 9< {path}"
    return f"{{ rm -f {path}; exec {program}; }} < {path}"


def _execute(
    context: Context, arguments: argparse.Namespace, command: str, *, cachable: bool = True
) -> ExecutionResult | BackgroundJob:
    arguments.env = list(values_of(arguments.env, context).items())
    if arguments.bg:
        if given := [f"--{name}" for name in ("out", "err", "stdin") if getattr(arguments, name)]:
            raise UsageError(f"{', '.join(given)} cannot be had with --bg: %e2b logs JOB shows a job's output")
        return jobs.start(context, arguments, command)
    raises = context.raise_on_error and not arguments.no_raise
    failure: CommandError | None = None
    try:
        result = _run(context, arguments, command, cachable=cachable)
        if not result.ok:
            from e2b_magic.results import failure_of  # here, as most commands need none

            failure = failure_of(result)
    except CommandError as error:
        if error.result is None:
            raise
        result, failure = error.result, error
    _keep(context, arguments, result)
    if failure is None or not raises:
        return result
    raise _with_last_words(failure, result) if arguments.quiet else failure


def _with_last_words(failure: CommandError, result: ExecutionResult) -> CommandError:
    """Gives an error that tells also why, which `--quiet` has shown to nobody."""
    from e2b_magic.results import last_words

    said = last_words(result.stderr or result.stdout)
    return type(failure)(f"{failure}: {said} (%e2b show has all that it wrote)", result) if said else failure


def _run(context: Context, arguments: argparse.Namespace, command: str, *, cachable: bool) -> ExecutionResult:
    """Runs a command, or finds its result, and shows what it writes."""
    printer = context.printer(quiet=arguments.quiet)
    from e2b_magic.worker.protocol import Progress  # here, since loading the magics needs no worker

    try:
        result = context.client.execute_command(
            command,
            project=arguments.project,
            cwd=arguments.cwd,
            envs=dict(arguments.env),
            user=arguments.user,
            timeout=context.timeout if arguments.timeout is None else arguments.timeout,
            use_cache=cachable and context.use_cache and not arguments.no_cache,
            refresh=arguments.refresh,
            stdin=read_variable(context, arguments.stdin),
            on_event=printer,
        )
        if result.cached:
            printer.replay(result)
            # Told here and nowhere else: a result that is assigned to a variable is not shown, and what one that is
            # shown again later said of its age would not hold any more.
            printer(Progress(f"[cached, ran {_when(result)}; --refresh runs it anew]"))
    except KeyboardInterrupt:
        printer.finish(interrupted=True)
        raise KeyboardInterrupt("the command was interrupted; what it wrote is kept (%e2b show)") from None
    finally:
        printer.finish()
    return result


def _when(result: ExecutionResult) -> str:
    passed = result.started_at - (result.cached_at or 0.0)
    return f"{span(passed)} ago" if passed >= 1 else "a moment ago"


def _keep(context: Context, arguments: argparse.Namespace, result: ExecutionResult) -> None:
    """Puts the streams into the variables that were named for them."""
    if arguments.out:
        context.assign(arguments.out, result.stdout)
    if arguments.err:
        context.assign(arguments.err, result.stderr)


_OPTIONS = (
    PROJECT,
    Argument(names=("--bg",), summary="start it and go on: a job, for %e2b jobs, logs, wait and stop"),
    working_directory("the working directory; the user's home when left out"),
    environment("an environment variable; NAME alone hands on the notebook's or the kernel's"),
    USER,
    Argument(names=("--timeout",), metavar="TIME", convert=seconds, summary="kill the command after it: 90, 30s, 5m"),
    Argument(names=("--no-cache",), summary="neither look for a stored result nor store this one"),
    Argument(names=("--refresh",), summary="run it though a result is stored, and store the new one"),
    Argument(names=("--no-raise",), summary="give the result of a command that fails, instead of an error"),
    Argument(names=("--quiet",), summary="show no output; the result has it, and an error its last line"),
    Argument(names=("--out",), metavar="VAR", convert=variable_name, summary="put the standard output into a variable"),
    Argument(names=("--err",), metavar="VAR", convert=variable_name, summary="put the standard error into a variable"),
    Argument(
        names=("--stdin",),
        metavar="VAR",
        convert=variable_name,
        complete=user_variables,
        summary="let the command read what a variable holds: a text, bytes, lines, a DataFrame, or another result",
    ),
)

COMMANDS = (
    Command(
        name="run",
        summary="Run a command in the sandbox",
        run=run,
        arguments=_OPTIONS,
        raw=Argument(
            names=("command",),
            metavar="COMMAND…",
            summary="the text that bash is to run",
            required=True,
            complete=remote_paths,
        ),
        examples=(
            "%e2b run git --version && python3 -c 'print(6*7)'",
            "r = %e2b run --timeout 5m --env TOKEN npm test",
            "%e2b run --bg python3 train.py",
            "%e2b run --no-raise --quiet -- ./check --strict | tail -3",
        ),
        notes=(
            "Options come first; from the first word that is none, or after `--`, the text reaches bash as it stands.",
            (
                "`{expression}` and `$name` stand for Python values where they name a variable of yours; all else is "
                "the shell's. `{{x}}` and `$$x` protect a name that is a variable."
            ),
            (
                "The value is an ExecutionResult: stdout, stderr, exit_code, duration, and `lines()`, `json()`, "
                "`csv()`, `to_frame()`, `check()`, `rerun()`. An exit code other "
                "than 0 is an error. Ctrl-C ends the command and its children."
            ),
            "With `--bg` the value is a BackgroundJob; it goes on across kernel restarts.",
            "Each command has a shell of its own: what `cd` and `export` do ends with it. Use `--cwd` and `--env`.",
            "An equal command in an unchanged sandbox is answered from the store, for an hour, and says so.",
        ),
    ),
    Command(
        name="%%e2b",
        summary="Run the cell as a script in the sandbox",
        run=run_cell,
        stray="it runs the cell below, and options alone stand beside it; a command on a line is %e2b run COMMAND…",
        arguments=(
            *_OPTIONS,
            Argument(names=("--template",), summary="fill in each {expression}; write a brace that is meant twice"),
            Argument(
                names=("--with",),
                metavar="PROGRAM",
                default="bash",
                summary="the interpreter that reads the script from its input: python3, node, 'psql -q'",
                complete=lambda _: ("bash", "node", "perl", "python3", "ruby", "sh"),
            ),
        ),
        examples=("%%e2b --cwd project\nmake\nmake test", "%%e2b --with python3\nprint(6*7)"),
        notes=(
            (
                "Without `--template` nothing in the cell is expanded. The exit code is the last command's; begin with "
                "`set -e` to stop at the first that fails."
            ),
            "A script of more than 100 kB goes through a temporary file, and its result is not cached.",
        ),
    ),
)
