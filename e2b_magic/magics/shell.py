"""`%e2b shell`: a shell of the sandbox in IPython's own terminal."""

from __future__ import annotations

import argparse
import os
import sys

from IPython.core.error import UsageError

from e2b_magic.magics.command import Command
from e2b_magic.magics.context import Context
from e2b_magic.magics.options import PROJECT, USER, working_directory


def shell(context: Context, arguments: argparse.Namespace) -> None:
    """Runs a shell until it ends."""
    from e2b_magic.magics.streaming import is_kernels

    if is_kernels(sys.stdout) or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "%e2b shell needs a terminal, and a notebook has none: use %e2b run here, or open a terminal and run "
            "ipython --ext=e2b_magic -c '%e2b shell'"
        )
    if os.name == "nt":
        raise UsageError("%e2b shell works in the terminals of Linux and macOS: use %e2b run here")
    from e2b_magic.magics.sitting import Sitting

    code = Sitting(context, arguments).run()
    if code:
        print(f"The shell ended with exit code {code}")


COMMANDS = (
    Command(
        name="shell",
        summary="Open a shell of the sandbox in this terminal",
        run=shell,
        arguments=(
            PROJECT,
            working_directory("the working directory; the user's home when left out"),
            USER,
        ),
        examples=("%e2b shell",),
        notes=(
            "Every key goes to the shell, Ctrl-C too; `exit` or Ctrl-D ends it. Ctrl-] ends one that does not listen.",
            "It needs a terminal: in a notebook use `%e2b run`.",
        ),
    ),
)
