"""`%e2b new`, `pause`, `resume`, `extend`, `timeout`, `sandboxes`, `gc`: a sandbox from its beginning to its end."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Final

from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.context import Context
from e2b_magic.magics.display import Card, Column, Table, pairs
from e2b_magic.magics.options import PROJECT, PROJECT_WORD, project_names, seconds
from e2b_magic.quantities import ago, counted, remaining

if TYPE_CHECKING:
    from e2b_magic.records import SandboxState

STATES: Final = {
    "none": "no sandbox yet: the first command makes one",
    "gone": "ended; the next command makes a new one",
}


def time_left(moment: float) -> str:
    """Gives how long it is until a moment; nothing when it is past or unknown."""
    left = moment - time.time()
    return remaining(left) if left > 0 else ""


def state_card(state: SandboxState) -> Card:
    """Gives a sandbox's state as it is shown."""
    return pairs(
        {
            "project": state.project,
            "backend": state.backend,
            "state": STATES.get(state.state, state.state),
            "sandbox": state.sandbox_id,
            "template": state.template,
            "ends in": "" if state.state == "paused" else time_left(state.expires_at),
            "memory": f"{state.memory_mb:,} MiB" if state.memory_mb else "",
            "made": ago(state.started_at) if state.started_at else "",
        }
    )


def new(context: Context, arguments: argparse.Namespace) -> None:
    """Makes a project's sandbox, and the project the current one."""
    client = context.client
    state = client.create_sandbox(
        arguments.name,
        template=arguments.template,
        replace=arguments.replace,
        on_event=context.printer(),
    )
    client.use_project(state.project)
    context.remember_project(state.project)
    print(f"Sandbox {state.sandbox_id} of template {state.template} is the current project's, {state.project}")


def pause(context: Context, arguments: argparse.Namespace) -> None:
    """Pauses a sandbox."""
    state = context.client.pause_sandbox(arguments.name)
    print(f"Paused sandbox {state.sandbox_id} of project {state.project}; it is resumed by %e2b resume, or by its use")


def resume(context: Context, arguments: argparse.Namespace) -> None:
    """Resumes a sandbox."""
    state = context.client.resume_sandbox(arguments.name, on_event=context.printer())
    print(f"Sandbox {state.sandbox_id} of project {state.project} runs, for {time_left(state.expires_at)} unless used")


def extend(context: Context, arguments: argparse.Namespace) -> None:
    """Lets a sandbox live longer."""
    state = context.client.extend_sandbox(arguments.time, arguments.project)
    print(f"Sandbox {state.sandbox_id} of project {state.project} ends in {time_left(state.expires_at)} unless used")


def timeout(context: Context, arguments: argparse.Namespace) -> None:
    """Says how long a sandbox lives."""
    state = context.client.set_sandbox_timeout(arguments.time, arguments.project)
    print(
        f"Sandbox {state.sandbox_id} of project {state.project} ends in {time_left(state.expires_at)}; "
        "each use of the project moves its end by as much"
    )


def sandboxes(context: Context, arguments: argparse.Namespace) -> Table[SandboxState]:
    """Gives the sandboxes of all projects."""
    return _table(context, context.client.list_sandboxes(), "There is no sandbox.")


def collect(context: Context, arguments: argparse.Namespace) -> Table[SandboxState]:
    """Ends the sandboxes that nobody knows."""
    client, everywhere = context.client, arguments.all
    if arguments.dry_run:
        found = client.list_orphans(everywhere=everywhere)
    else:
        found = client.kill_orphans(everywhere=everywhere)
        if found:
            print(f"Ended {counted(len(found), 'sandbox', 'sandboxes')} that no project has")
    strays = 0 if everywhere else len(client.list_orphans(everywhere=True)) - len(found) * arguments.dry_run
    if strays:
        print(
            f"{counted(strays, 'more comes', 'more come')} from other stores of this machine, which are gone or do not "
            "know of them: %e2b gc --all ends them too"
        )
    return _table(context, found, "Every sandbox belongs to a project.")


def _table(context: Context, states: list[SandboxState], empty: str) -> Table[SandboxState]:
    own = context.client.configuration.directory
    directories = {state.sandbox_id: state.origin.partition(" ")[2] for state in states}
    foreign = any(directory != str(own) for directory in directories.values())
    store: Column[SandboxState] = Column("store", lambda state: directories[state.sandbox_id] or "unknown")
    return Table(states, (*_COLUMNS, store) if foreign else _COLUMNS, empty=empty)


_COLUMNS: Final[tuple[Column[SandboxState], ...]] = (
    Column("project", lambda state: state.project),
    Column("sandbox", lambda state: state.sandbox_id),
    Column("state", lambda state: state.state),
    Column("template", lambda state: state.template),
    Column("backend", lambda state: state.backend),
    Column("ends in", lambda state: "" if state.state == "paused" else time_left(state.expires_at), right=True),
    Column("made", lambda state: ago(state.started_at), right=True),
)
_TIME = Argument(names=("time",), metavar="TIME", convert=seconds, required=True, summary="how long: 30m, 2h, 600")


def _known_templates(context: Context) -> list[str]:
    # Those that the store can name: to ask the server for its snapshots would take longer than Tab may.
    return sorted({"base", *(project.template for project in context.client.get_projects() if project.template)})


COMMANDS = (
    Command(
        name="new",
        summary="Make a project's sandbox, and make the project the current one",
        run=new,
        arguments=(
            Argument(
                names=("--template",),
                metavar="TEMPLATE",
                complete=_known_templates,
                summary="what it is made from: a template, or a snapshot's id",
            ),
            Argument(names=("--replace",), summary="end the sandbox that the project has, its files with it"),
            Argument(
                names=("name",),
                metavar="NAME",
                complete=project_names,
                summary="the project; the current one when left out",
            ),
        ),
        examples=("%e2b new web", "%e2b new --template node --replace"),
        notes=("The first command of a project makes its sandbox by itself; this one makes it from a template.",),
    ),
    Command(
        name="pause",
        summary="Put a project's sandbox to rest, its files kept",
        run=pause,
        arguments=(PROJECT_WORD,),
        examples=("%e2b pause", "%e2b pause web"),
        notes=(
            "A paused sandbox has no end. The next command in it resumes it.",
            "Locally its processes are kept as long as the server runs.",
        ),
    ),
    Command(
        name="resume",
        summary="Wake a project's sandbox",
        run=resume,
        arguments=(PROJECT_WORD,),
        examples=("%e2b resume",),
    ),
    Command(
        name="extend",
        summary="Let the sandbox live at least so long from now; never shortens its time",
        run=extend,
        arguments=(PROJECT, _TIME),
        examples=("%e2b extend 2h",),
    ),
    Command(
        name="timeout",
        summary="Have the sandbox end so long after now, and after each later use",
        run=timeout,
        arguments=(PROJECT, _TIME),
        examples=("%e2b timeout 10m",),
        notes=(
            "This is the sandbox's own time. A command's is `%e2b run --timeout`.",
            "It is kept with the project, across kernel restarts and for the project's next sandbox.",
        ),
    ),
    Command(
        name="sandboxes",
        summary="List the sandboxes of all projects, as their server knows them",
        run=sandboxes,
        examples=("%e2b sandboxes", "alive = %e2b sandboxes"),
        notes=("The value is a list of SandboxState. They are this user's, of this host.",),
    ),
    Command(
        name="gc",
        summary="End sandboxes that no project has: what crashes and lost stores left behind",
        run=collect,
        arguments=(
            Argument(names=("--dry-run",), summary="show them, and end none"),
            Argument(
                names=("--all",),
                summary="those too that came from other stores of this machine, which are gone or do not know of them",
            ),
        ),
        examples=("%e2b gc --dry-run", "%e2b gc"),
        notes=(
            (
                "Left alone is what another session that lives has made, what another store's project has, and what is "
                "younger than a minute: whoever makes it may not have stored it yet."
            ),
        ),
    ),
)
