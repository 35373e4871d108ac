"""`%e2b jobs`, `logs`, `wait` and `stop`: what goes on by itself in a sandbox, and the line that says it has ended.

A job that is a cell's value is shown as that line, too (`SHOW`), so no command prints one beside its value, and a job
that goes into a variable is silent.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from IPython.core.error import UsageError

from e2b_magic.exceptions import CommandFailedError
from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.context import Context
from e2b_magic.magics.display import Column, Table, as_line
from e2b_magic.magics.options import PROJECT, seconds, whole_number
from e2b_magic.quantities import ago, span
from e2b_magic.terminal import one_line

if TYPE_CHECKING:
    from e2b_magic.records import BackgroundJob

COMMAND_SHOWN: Final = 60
"""How much of a command a line about its job holds, in characters."""


def start(context: Context, arguments: argparse.Namespace, command: str) -> BackgroundJob:
    """Starts a command in the background, for `%e2b run --bg`, and gives its job.

    Raises:
        UsageError: An option was given that means nothing for such a command.
    """
    for option in ("timeout", "refresh"):
        if getattr(arguments, option):
            raise UsageError(f"--{option} does not go with --bg: such a command runs until it ends, or %e2b stop")
    return context.client.start_background(
        command,
        project=arguments.project,
        cwd=arguments.cwd,
        envs=dict(arguments.env),
        user=arguments.user,
        on_event=context.printer(quiet=arguments.quiet),
    )


def jobs(context: Context, arguments: argparse.Namespace) -> Table[BackgroundJob]:
    """Gives the project's jobs, newest first."""
    found = context.client.get_background_jobs(arguments.project)
    for job in found:
        context.client.dismiss_job(job)
    return Table(reversed(found), _COLUMNS, empty="No job was started here: %e2b run --bg starts one.")


def logs(context: Context, arguments: argparse.Namespace) -> BackgroundJob | None:
    """Shows a job's log."""
    printer = context.printer()
    try:
        job = context.client.follow_log(
            arguments.job,
            lines=arguments.lines,
            follow=arguments.follow,
            project=arguments.project,
            on_event=printer,
        )
    except KeyboardInterrupt:
        if not arguments.follow:
            raise
        # The way out of following, and no failure: what comes after the cell is to run.
        printer.finish(interrupted=True)
        print("Stopped following; the job goes on")
        return None
    finally:
        printer.finish()
    return job


def wait(context: Context, arguments: argparse.Namespace) -> BackgroundJob:
    """Waits for a job and gives it."""
    try:
        job = context.client.wait_for_job(arguments.job, timeout=arguments.timeout, project=arguments.project)
    except KeyboardInterrupt:
        context.printer().finish(interrupted=True)
        raise KeyboardInterrupt("stopped waiting; the job goes on") from None
    if context.raise_on_error and not arguments.no_raise:
        _check(job)
    return job


def _check(job: BackgroundJob) -> None:
    if job.state == "lost":
        raise CommandFailedError(
            f"{described(job)}: its sandbox ended, or what watched over it there, and whether it was done is not known"
        )
    if job.exit_code:
        raise CommandFailedError(f"{described(job)}: %e2b logs {job.id} shows what it wrote")


def stop(context: Context, arguments: argparse.Namespace) -> BackgroundJob:
    """Ends a job."""
    return context.client.stop_job(arguments.job, project=arguments.project)


def described(job: BackgroundJob) -> str:
    """Gives a line on a job: which, what, and how it ended."""
    command = one_line(job.command[: 2 * COMMAND_SHOWN])
    short = command if len(command) <= COMMAND_SHOWN else f"{command[: COMMAND_SHOWN - 1]}…"
    took = f" after {span(job.ended_at - job.started_at)}" if job.ended_at else ""
    return f"Job {job.id} ({short}) {job.outcome}{took}"


def _line(job: BackgroundJob) -> str:
    job = _as_last_seen(job)
    return f"{described(job)}{_ways_on(job)}"


def _as_last_seen(job: BackgroundJob) -> BackgroundJob:
    """Gives a job as it stands for all this kernel knows: one in a variable stays as it was when it was given."""
    from e2b_magic.client import current_client

    client = current_client()
    return job if client is None else client.last_seen_job(job)


def _ways_on(job: BackgroundJob) -> str:
    if not job.running:
        return ""
    if job.port is None:
        return f": %e2b logs -f {job.id} follows it, %e2b stop {job.id} ends it"
    elsewhere = "" if job.project == _current_project() else f"-p {job.project} "
    return (
        f" on port {job.port}: {one_line(job.url or '')} "
        f"(%e2b preview {elsewhere}{job.port} shows it, %e2b stop {job.id} ends it)"
    )


def _current_project() -> str:
    from e2b_magic.client import current_client

    client = current_client()
    return "" if client is None else client.project


SHOW: Final = as_line(_line)
"""How a job is shown that is a cell's value."""


def announcements() -> list[str]:
    """Gives a line for each job that has ended since the last prompt; waits for nothing, and makes no client."""
    from e2b_magic.client import current_client

    client = current_client()
    if client is None:
        return []
    return [f"{described(job)}: %e2b logs {job.id}" for job in client.finished_jobs()]


def known_jobs(context: Context) -> Iterable[str]:
    """Gives the ids of the jobs that are stored, newest first: the sandbox is not asked."""
    stored = context.client.store.jobs.of(context.client.project)
    return [job.id for job in reversed(stored)]


def _took(job: BackgroundJob) -> str:
    if job.ended_at is not None:
        return span(job.ended_at - job.started_at)
    return span(time.time() - job.started_at) if job.running else ""


_COLUMNS: Final[tuple[Column[BackgroundJob], ...]] = (
    Column("job", lambda job: job.id),
    Column("state", lambda job: job.outcome),
    Column("started", lambda job: ago(job.started_at), right=True),
    Column("took", _took, right=True),
    Column("port", lambda job: str(job.port or ""), right=True),
    Column("pid", lambda job: str(job.pid or ""), right=True),
    Column("command", lambda job: job.command),
)

JOB: Final = Argument(
    names=("job",),
    metavar="JOB",
    summary="its id or how that begins, or a server's port; the server, or else the newest job, when left out",
    complete=known_jobs,
)

COMMANDS = (
    Command(
        name="jobs",
        summary="List what was started in the background",
        run=jobs,
        arguments=(PROJECT,),
        examples=("%e2b jobs", "%e2b run --bg make all"),
        notes=(
            "The value is a list of BackgroundJob, newest first.",
            (
                "Jobs live in the sandbox: they go on while the kernel restarts, and end with the sandbox. While a "
                "kernel runs that has started them, or uses their project, they keep it alive. One that has ended says "
                "so at the next prompt, also where that is a restarted kernel's."
            ),
        ),
    ),
    Command(
        name="logs",
        summary="Show what a job or a dev server wrote",
        run=logs,
        arguments=(
            Argument(names=("-f", "--follow"), summary="go on until it ends; Ctrl-C ends the following, not the job"),
            Argument(names=("-n", "--lines"), metavar="N", convert=whole_number, summary="begin with the last N lines"),
            PROJECT,
            JOB,
        ),
        examples=("%e2b logs", "%e2b logs -f -n 20", "%e2b logs 3f9a21c0"),
        notes=("Of a long log the first mebibyte and the last eight are kept.",),
    ),
    Command(
        name="wait",
        summary="Wait until a job has ended",
        run=wait,
        arguments=(
            Argument(
                names=("--timeout",), metavar="TIME", convert=seconds, summary="give up waiting after it: 90, 30s, 5m"
            ),
            Argument(names=("--no-raise",), summary="give the job that failed, instead of an error"),
            PROJECT,
            JOB,
        ),
        examples=("%e2b wait", "job = %e2b wait --timeout 10m 3f9a21c0"),
        notes=("A job that failed, or is lost, is an error. Ctrl-C ends the waiting, not the job.",),
    ),
    Command(
        name="stop",
        summary="End a job or a dev server, with all that it started",
        run=stop,
        arguments=(PROJECT, JOB),
        examples=("%e2b stop", "%e2b stop 5173", "%e2b stop 3f9a21c0"),
        notes=("It is asked to end (SIGTERM) and ended by force five seconds later.",),
    ),
)
