"""`%e2b use`, `projects`, `info`, `status` and `kill`: a sandbox a project."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from e2b_magic.config import EMBEDDED
from e2b_magic.magics.account import key_was_set_since
from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.context import Context
from e2b_magic.magics.display import Card, Column, Table, pairs
from e2b_magic.magics.lifecycle import state_card, time_left
from e2b_magic.magics.options import PROJECT_WORD, project_names
from e2b_magic.quantities import ago, counted, remaining

if TYPE_CHECKING:
    from e2b_magic.records import Project


def use(context: Context, arguments: argparse.Namespace) -> None:
    """Makes a project the current one."""
    project = context.client.use_project(arguments.name)
    context.remember_project(project.name)
    known = "" if project.created_at else ", a new one"
    print(f"The current project is {project.name}{known}")


def projects(context: Context, arguments: argparse.Namespace) -> Table[Project]:
    """Gives the projects."""
    client = context.client

    def marked(project: Project) -> str:
        return f"{project.name} *" if project.name == client.project else project.name

    columns: tuple[Column[Project], ...] = (
        Column("project", marked),
        Column("template", lambda project: project.template),
        Column("sandbox", lambda project: project.sandbox_id),
        Column("backend", lambda project: project.backend),
        Column("ends in", lambda project: time_left(project.sandbox_expires_at)),
        Column("used", lambda project: ago(project.updated_at) if project.updated_at else ""),
    )
    return Table(client.get_projects(), columns, empty="There is no project yet: the first command makes one.")


def info(context: Context, arguments: argparse.Namespace) -> Card:
    """Gives what is stored of a project."""
    project = context.client.get_project_info(arguments.name)
    return pairs(
        {
            "project": project.name,
            "template": project.template,
            "sandbox": project.sandbox_id or "none yet",
            "backend": project.backend,
            "ends in": time_left(project.sandbox_expires_at),
            "lives after use": remaining(project.sandbox_timeout) if project.sandbox_timeout else "",
            "directory": project.path,
            "port": project.port,
            "page": project.url,
            "made from": project.source,
            "setup": f"{project.state}: {project.reason}" if project.reason else project.state,
            "dev server": project.dev,
            "revision": project.revision,
            "made": ago(project.created_at) if project.created_at else "not yet: its first use makes it",
            "used": ago(project.updated_at) if project.updated_at else None,
        }
    )


def status(context: Context, arguments: argparse.Namespace) -> Card:
    """Asks the server for a project's sandbox and gives its state."""
    return state_card(context.client.get_sandbox_status(arguments.name))


def kill(context: Context, arguments: argparse.Namespace) -> None:
    """Ends a project's sandbox."""
    client = context.client
    name = arguments.name or client.project
    known = client.get_project_info(arguments.name)
    killed = (client.forget_project if arguments.forget else client.kill_sandbox)(arguments.name)
    if killed:
        print(f"Ended sandbox {', '.join(killed)} of project {name}, its files with it")
    elif known.created_at or not arguments.forget:
        print(f"Project {name} has no sandbox")
    if arguments.forget:
        print(f"Forgot project {name}; its history stays" if known.created_at else f"There is no project {name}")


def overview(context: Context) -> Card:
    """Gives where the session stands, from what is stored: no server is asked."""
    client = context.client
    project = client.get_project_info()
    backend = client.configuration.backend
    left = time_left(project.sandbox_expires_at) if project.backend == backend else ""
    sandbox = f"{project.sandbox_id}, ends in {left} unless used" if left else "none; the first command makes one"
    if project.paused and project.backend == backend:
        sandbox = f"{project.sandbox_id}, paused; the next command resumes it"
    cache = client.get_cache_info()
    return Card(
        {
            "backend": f"{backend} (on this machine)" if backend == EMBEDDED else backend,
            **({"key": "E2B_API_KEY is set, but not used: %e2b login takes it"} if key_was_set_since(context) else {}),
            "project": project.name,
            "sandbox": sandbox,
            "cache": f"{counted(cache.entries, 'result')}, {counted(cache.hits, 'hit')}"
            f"{'' if context.use_cache else '; switched off'}",
        }
    )


COMMANDS = (
    Command(
        name="use",
        summary="Make a project the current one; each has a sandbox of its own",
        run=use,
        arguments=(
            Argument(
                names=("name",),
                metavar="NAME",
                required=True,
                complete=project_names,
                summary="its name: letters, digits, '.', '_' and '-'",
            ),
        ),
        examples=("%e2b use web",),
    ),
    Command(
        name="projects",
        summary="List the projects",
        run=projects,
        examples=("%e2b projects",),
        notes=("The value is a list of Project; the current one is marked with *.",),
    ),
    Command(
        name="info",
        summary="Show what is stored of a project",
        run=info,
        arguments=(PROJECT_WORD,),
        examples=("%e2b info", "%e2b info web"),
    ),
    Command(
        name="status",
        summary="Ask whether a project's sandbox is alive, and for how long",
        run=status,
        arguments=(PROJECT_WORD,),
        examples=("%e2b status",),
        notes=("A sandbox ends an hour after it was last used. Asking makes none.",),
    ),
    Command(
        name="kill",
        summary="End a project's sandbox, its files with it",
        run=kill,
        arguments=(Argument(names=("--forget",), summary="take the project out of the list, too"), PROJECT_WORD),
        examples=("%e2b kill", "%e2b kill --forget web"),
    ),
)
