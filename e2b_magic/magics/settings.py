"""`%e2b config`: every setting, its value, and where that came from."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from e2b_magic.exceptions import ConfigurationError
from e2b_magic.magics.command import Command
from e2b_magic.magics.context import Context
from e2b_magic.magics.display import Column, Table
from e2b_magic.quantities import size

if TYPE_CHECKING:
    from e2b_magic.config import Configuration

ENVIRONMENT: Final = {
    "domain": "E2B_DOMAIN",
    "api_url": "E2B_API_URL",
    "sandbox_url": "E2B_SANDBOX_URL",
    "worker": "E2B_MAGIC_WORKER_URL",
    "directory": "E2B_MAGIC_DIRECTORY",
    "user": "E2B_MAGIC_USER",
}
"""The variable that each of a client's settings may come from."""
HERE: Final = "%config or %e2b use, in this session"
DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: Its name.
        value: Its value as it is shown.
        source: Where it came from.
    """

    name: str
    value: str
    source: str


def config(context: Context, arguments: argparse.Namespace) -> Table[Setting]:
    """Gives the settings."""
    known = context.client.configuration
    shown = [
        *(Setting(f"E2BMagics.{name}", _text(value), source) for name, value, source in context.settings()),
        Setting("api_key", "none" if known.api_key is None else "set, e2b_…", _key_source(known)),
        Setting("backend", known.backend, "api_key, api_url, domain and worker"),
        *(_of_client(known, name, variable) for name, variable in ENVIRONMENT.items()),
        Setting("space", size(known.space), DEFAULT),
    ]
    columns: tuple[Column[Setting], ...] = (
        Column("setting", lambda one: one.name),
        Column("value", lambda one: one.value),
        Column("from", lambda one: one.source),
    )
    return Table(shown, columns, empty="")


def _text(value: object) -> str:
    return "none" if value is None else str(value)


def _of_client(known: Configuration, name: str, variable: str) -> Setting:
    value = getattr(known, name)
    if name == "worker" and value is not None:
        value = value.url  # and not its token
    return Setting(name, _text(value), f"{variable} in the environment" if os.environ.get(variable) else DEFAULT)


def _key_source(known: Configuration) -> str:
    from e2b_magic.config import ApiKey

    text = os.environ.get("E2B_API_KEY")
    try:
        of_environment = ApiKey(text) if text else None
    except ConfigurationError:
        of_environment = None
    finally:
        del text
    if known.api_key is None:
        return "%e2b logout" if of_environment is not None else DEFAULT
    return "E2B_API_KEY in the environment" if known.api_key == of_environment else "%e2b login"


COMMANDS = (
    Command(
        name="config",
        summary="Show every setting, and where its value came from",
        run=config,
        examples=("%e2b config",),
        notes=(
            (
                "What stands first wins: the command's own option; this session's `%config`, `%e2b use` and "
                "`%e2b login`; "
                "`ipython_config.py` or the command line; the environment; the default. The key is never shown."
            ),
        ),
    ),
)
