"""`%e2b dev` and `preview`: a server in the sandbox, and what it shows in the notebook."""

from __future__ import annotations

import argparse
import html
from typing import TYPE_CHECKING, Final

from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.context import Context
from e2b_magic.magics.display import PrettyPrinter
from e2b_magic.magics.options import (
    PROJECT,
    USER,
    environment,
    port_number,
    remote_paths,
    seconds,
    values_of,
    whole_number,
    working_directory,
)
from e2b_magic.terminal import one_line

if TYPE_CHECKING:
    from e2b_magic.records import BackgroundJob, Preview

HEIGHT: Final = 480
"""The frame's height unless told otherwise, in pixels."""
# What a page may do in its frame. It may be of its own origin only where that is another than the Jupyter server's, of
# which it would read everything else.
_ALLOWED: Final = "allow-scripts allow-forms allow-modals allow-popups allow-downloads"
_OWN_ORIGIN: Final = "allow-same-origin"


class PreviewFrame:
    """A port's page: a frame in a notebook, an address elsewhere.

    Args:
        preview: Where the page is.
        height: The frame's height, in pixels.

    Attributes:
        preview: Where the page is.
        url: Its address.
    """

    def __init__(self, preview: Preview, height: int = HEIGHT) -> None:
        self.preview = preview
        self.url = preview.url
        self._height = height

    def __str__(self) -> str:
        return self.url

    def _repr_pretty_(self, printer: PrettyPrinter, cycle: bool) -> None:
        nothing = "" if self.preview.open else f" (nothing answers on port {self.preview.port} yet)"
        printer.text(f"{one_line(self.url)}{nothing}")

    def _repr_html_(self) -> str:
        url = html.escape(self.url)
        allowed = _ALLOWED if self.url.startswith("/") else f"{_ALLOWED} {_OWN_ORIGIN}"
        return (
            f'<iframe src="{url}" sandbox="{allowed}" width="100%" height="{self._height}" '
            'style="border: 1px solid #8888" referrerpolicy="no-referrer"></iframe>'
            f'<br><a href="{url}" target="_blank" rel="noopener noreferrer">{url}</a>'
        )


def dev(context: Context, arguments: argparse.Namespace) -> BackgroundJob:
    """Starts a server and gives its job."""
    printer = context.printer(quiet=arguments.quiet)
    try:
        return context.client.start_dev_server(
            arguments.command or None,
            arguments.port,
            project=arguments.project,
            cwd=arguments.cwd,
            envs=values_of(arguments.env, context),
            user=arguments.user,
            on_event=printer,
            **({} if arguments.within is None else {"ready_within": arguments.within}),
        )
    except KeyboardInterrupt:
        printer.finish(interrupted=True)
        raise KeyboardInterrupt("interrupted before the port answered; the server is ended") from None
    finally:
        printer.finish()


def preview(context: Context, arguments: argparse.Namespace) -> PreviewFrame:
    """Gives a port's page."""
    return PreviewFrame(context.client.get_preview(arguments.port, arguments.project), arguments.height)


COMMANDS = (
    Command(
        name="dev",
        summary="Start a dev server in the background and wait until its port answers",
        run=dev,
        arguments=(
            Argument(
                names=("--port",),
                metavar="N",
                convert=port_number,
                summary="the port that it listens on, which it finds in PORT; the project's when left out",
            ),
            PROJECT,
            working_directory("the working directory; the project's when left out"),
            environment("an environment variable; NAME alone hands on this kernel's, so that a secret is in no cell"),
            USER,
            Argument(
                names=("--within",),
                metavar="TIME",
                convert=seconds,
                summary="how long the port may take to answer: 30s, 5m; a minute when left out",
            ),
            Argument(names=("--quiet",), summary="do not show what it writes until it answers"),
        ),
        raw=Argument(
            names=("command",),
            metavar="COMMAND…",
            complete=remote_paths,
            summary="the text that bash is to run; the project's when left out",
        ),
        examples=("%e2b dev --port 8000 python3 -m http.server 8000", "%e2b dev npm run dev", "%e2b dev"),
        notes=(
            "A server that was started so on the same port is replaced. What it writes is in its log: `%e2b logs -f`.",
            "It goes on while the kernel restarts, for as long as the sandbox lives. The value is its BackgroundJob.",
        ),
    ),
    Command(
        name="preview",
        summary="Show what a port of the sandbox serves",
        run=preview,
        arguments=(
            Argument(
                names=("--height",),
                metavar="PIXELS",
                convert=whole_number,
                default=HEIGHT,
                summary="the frame's height",
            ),
            PROJECT,
            Argument(
                names=("port",), metavar="PORT", convert=port_number, summary="the port; the project's when left out"
            ),
        ),
        examples=("%e2b preview", "%e2b preview --height 800 8000"),
        notes=("A notebook shows a frame with the page's address below it, a terminal the address.",),
    ),
)
