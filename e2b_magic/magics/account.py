"""`%e2b login` and `logout`: an E2B key for this session, kept in memory, and elsewhere only when that is asked for."""

from __future__ import annotations

import argparse
import getpass
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from IPython.core.error import StdinNotImplementedError, UsageError

from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.context import Context


def login(context: Context, arguments: argparse.Namespace) -> None:
    """Asks for a key, or takes the one in the system's keyring, and goes on with it."""
    client = context.client
    if not arguments.keyring:
        client.login(os.environ["E2B_API_KEY"] if key_was_set_since(context) else _ask())
    else:
        with _keyring() as keyring:
            known = keyring.get_password(SERVICE, client.configuration.domain)
            client.login(known or _ask())
            if known is None and client.configuration.api_key is not None:
                keyring.set_password(SERVICE, client.configuration.domain, client.configuration.api_key.reveal())
                print("The key is in the system's keyring now; %e2b logout --keyring takes it out")
            del known  # a verbose traceback prints the locals of every frame
    print(f"From here on sandboxes are on {client.configuration.backend}")


def key_was_set_since(context: Context) -> bool:
    """Whether the environment has a key that the session does not use, such as one that a cell has put there."""
    return context.client.configuration.api_key is None and bool(os.environ.get("E2B_API_KEY", "").strip())


@contextmanager
def _keyring() -> Iterator[Any]:
    """Gives the `keyring` module, and what goes wrong with it in one line.

    Raises:
        UsageError: It is not installed, or the system has no keyring that works.
    """
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        raise UsageError("--keyring needs the package keyring: install e2b-magic[keyring]") from None
    try:
        yield keyring
    except KeyringError as error:
        raise UsageError(
            f"The system's keyring cannot be used ({type(error).__name__}): log in without --keyring, or set "
            "E2B_API_KEY"
        ) from None


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
    client = context.client
    domain = client.configuration.domain
    client.logout()
    if arguments.keyring:
        with _keyring() as keyring:
            if keyring.get_password(SERVICE, domain) is not None:
                keyring.delete_password(SERVICE, domain)
    configuration = client.configuration
    where = "this machine" if configuration.worker is None else configuration.backend
    print(f"Forgot the key and every cached result; from here on sandboxes are on {where}")


SERVICE: Final = "e2b-magic"
"""The name under which a key lies in the system's keyring, one for each E2B domain."""

COMMANDS = (
    Command(
        name="login",
        summary="Ask for an E2B API key and use E2B's cloud from here on",
        run=login,
        arguments=(Argument(names=("--keyring",), summary="take the key from the system's keyring, or put it there"),),
        examples=("%e2b login", "%e2b login --keyring"),
        notes=(
            "The key stays in this kernel's memory unless --keyring asks for more.",
            (
                "With E2B_API_KEY in the environment that the kernel was started in there is nothing to do. One that a "
                "cell has put there since, as load_dotenv does, is taken without a question."
            ),
        ),
    ),
    Command(
        name="logout",
        summary="Forget the key and every cached result; use the embedded server",
        run=logout,
        arguments=(Argument(names=("--keyring",), summary="take it out of the system's keyring too"),),
        examples=("%e2b logout",),
    ),
)
