"""`%e2b login` and `logout`: an E2B key for this session, kept in memory only."""

from __future__ import annotations

import argparse
import getpass
import warnings

from IPython.core.error import StdinNotImplementedError, UsageError

from e2b_magic.magics.command import Command
from e2b_magic.magics.context import Context


def login(context: Context, arguments: argparse.Namespace) -> None:
    """Asks for a key and goes on with it."""
    context.client.login(_ask())
    print(f"From here on sandboxes are on {context.client.configuration.backend}")


def _ask() -> str:
    try:
        with warnings.catch_warnings():
            # getpass warns and then reads with echo where it cannot switch that off: a key is not to be seen.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass("E2B API key: ")
    except (StdinNotImplementedError, EOFError, getpass.GetPassWarning):
        raise UsageError(
            "%e2b login cannot ask for the key here: set E2B_API_KEY in the environment that the kernel is started in"
        ) from None


def logout(context: Context, arguments: argparse.Namespace) -> None:
    """Forgets the key."""
    context.client.logout()
    configuration = context.client.configuration
    where = "this machine" if configuration.worker is None else configuration.backend
    print(f"Forgot the key and every cached result; from here on sandboxes are on {where}")


COMMANDS = (
    Command(
        name="login",
        summary="Ask for an E2B API key and use E2B's cloud from here on",
        run=login,
        examples=("%e2b login",),
        notes=("The key stays in this kernel's memory. With E2B_API_KEY in its environment there is nothing to do.",),
    ),
    Command(
        name="logout",
        summary="Forget the key and every cached result; use the embedded server",
        run=logout,
        examples=("%e2b logout",),
    ),
)
