"""`%e2b setup`: a project's files and what it needs, in its sandbox."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.context import Context
from e2b_magic.magics.options import (
    USER,
    environment,
    local_paths,
    port_number,
    project_names,
    remote_paths,
    seconds,
    values_of,
)
from e2b_magic.terminal import one_line

if TYPE_CHECKING:
    from e2b_magic.records import Project


def setup(context: Context, arguments: argparse.Namespace) -> None:
    """Makes a project and makes it the current one."""
    printer = context.printer()
    try:
        with context.progress_bar(f"setup {arguments.name}") as bar:
            project = context.client.setup_project(
                arguments.name,
                template=arguments.template,
                directory=getattr(arguments, "from"),
                git=arguments.git,
                ref=arguments.ref or "",
                install=arguments.install,
                port=arguments.port,
                path=arguments.path,
                envs=values_of(arguments.env, context),
                user=arguments.user,
                timeout=arguments.timeout,
                force=arguments.force,
                on_progress=bar,
                on_event=printer,
            )
    except KeyboardInterrupt:
        printer.finish(interrupted=True)
        raise KeyboardInterrupt("the setup was interrupted; done again, it goes on") from None
    finally:
        printer.finish()
    context.remember_project(project.name)
    print(_told(project))


def _told(project: Project) -> str:
    where = f"Project {project.name} is ready in {one_line(project.path)}"
    if not project.dev:
        return where
    return f"{where}: %e2b dev starts {one_line(project.dev)} on port {project.port}"


def _templates(context: Context) -> Iterable[str]:
    from e2b_magic.project_templates import template_names

    return template_names()


COMMANDS = (
    Command(
        name="setup",
        summary="Make a project: its files in its sandbox, and what it needs installed",
        run=setup,
        arguments=(
            Argument(
                names=("--template",),
                metavar="TEMPLATE",
                summary="begin with a template: python, node, vite-react, static, fastapi",
                complete=_templates,
            ),
            Argument(
                names=("--from",),
                metavar="DIR",
                summary="begin with a directory of this machine, without what .gitignore excludes",
                complete=local_paths,
            ),
            Argument(names=("--git",), metavar="URL", summary="begin with a repository, which the sandbox clones"),
            Argument(names=("--ref",), metavar="BRANCH", summary="its branch or tag"),
            Argument(
                names=("--install",),
                metavar="CMD",
                summary="what to run in the directory then; the template's own when left out",
            ),
            Argument(
                names=("--port",),
                metavar="N",
                convert=port_number,
                summary="where its dev server listens; the template's when left out",
            ),
            Argument(
                names=("--path",), metavar="DIR", complete=remote_paths, summary="the directory; ~/NAME when left out"
            ),
            environment("a variable for git and the install command; NAME alone hands on this kernel's"),
            USER,
            Argument(
                names=("--timeout",),
                metavar="TIME",
                convert=seconds,
                summary="kill git, or the install command, after it: 90, 30s, 5m",
            ),
            Argument(names=("--force",), summary="replace what was edited in the sandbox, too"),
            Argument(
                names=("name",), metavar="NAME", required=True, complete=project_names, summary="the project's name"
            ),
        ),
        examples=(
            "%e2b setup web --template vite-react",
            "%e2b setup api --from ./api --install 'pip install -r requirements.txt' --port 8000",
            "%e2b setup tool --git https://example.org/team/tool",
        ),
        notes=(
            (
                "Done again it brings what has changed, removes what is gone, and leaves alone what was edited in the "
                "sandbox. A failed install leaves the files; %e2b info has the reason."
            ),
            "The project becomes the current one.",
        ),
    ),
)
