"""`%e2b cache`: what of the past may be given again, and how to forget it."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Final

from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.context import Context
from e2b_magic.magics.display import Card, Column, Table
from e2b_magic.magics.options import project_names
from e2b_magic.quantities import ago, counted, remaining, size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from e2b_magic.store import CachedResult

NEWEST: Final = 10
"""How many results are listed unless all are wanted."""


class CacheCard(Card):
    """The cache's figures by name, with its results below them.

    Args:
        figures: The figures.
        entries: The results, newest first.
    """

    def __init__(self, figures: Mapping[str, str], entries: Table[CachedResult]) -> None:
        super().__init__(figures)
        self.entries = entries

    def __str__(self) -> str:
        return f"{super().__str__()}\n\n{self.entries}" if self.entries else super().__str__()

    def _repr_html_(self) -> str:
        return super()._repr_html_() + (self.entries._repr_html_() if self.entries else "")


def show(context: Context, arguments: argparse.Namespace) -> CacheCard:
    """Gives the cache's figures and its results."""
    cache = context.client.get_cache_info()
    entries = context.client.get_cached_results(None if arguments.all else NEWEST)
    more = cache.entries - len(entries)
    note = f"… and {more:,} more: %e2b cache show --all" if more > 0 and not arguments.all else ""
    figures = {
        "results": f"{cache.entries:,}",
        "size": f"{size(cache.bytes)} of {size(cache.space)}",
        "hits": f"{cache.hits:,}",
        "misses": f"{cache.misses:,}",
    }
    return CacheCard(figures, Table(entries, _COLUMNS, empty="No result is cached.", note=note))


def clear(context: Context, arguments: argparse.Namespace) -> None:
    """Forgets cached results."""
    count = context.client.clear_cache(arguments.command or None, arguments.project)
    print(f"Forgot {counted(count, 'cached result')}")


_COLUMNS: Final[tuple[Column[CachedResult], ...]] = (
    Column("ran", lambda entry: ago(entry.stored_at), right=True),
    Column("for another", lambda entry: remaining(entry.expires_at - time.time()), right=True),
    Column("size", lambda entry: size(entry.size), right=True),
    Column("project", lambda entry: entry.project),
    Column("command", lambda entry: entry.command),
)

COMMANDS: Final = (
    Command(
        name="cache show",
        summary="Show how much is cached, how often that was of use, and the newest results",
        run=show,
        arguments=(Argument(names=("--all",), summary="list every result"),),
        examples=("%e2b cache", "kept = %e2b cache show --all"),
        notes=("The value is a dict of the figures; its `entries` are a list of CachedResult, newest first.",),
    ),
    Command(
        name="cache clear",
        summary="Forget cached results: a command's, a project's, or all",
        run=clear,
        arguments=(
            Argument(
                names=("-p", "--project"),
                metavar="NAME",
                complete=project_names,
                summary="only this project's; every project's when left out",
            ),
        ),
        raw=Argument(names=("command",), metavar="COMMAND…", summary="only this command's; the text as it was run"),
        examples=("%e2b cache clear", "%e2b cache clear --project web npm test"),
    ),
)
