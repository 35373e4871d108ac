"""Commands of third parties: what other packages declare under the entry point `e2b_magic.commands`.

    [project.entry-points."e2b_magic.commands"]
    deploy = "my_package.magics:DEPLOY"

An entry point is named after its command and gives a `Command` (see `command`), so it has its parser, help and
completion like any of ours. Packages are looked through when a name is not one of ours, or all names are wanted, never
while the magics are loaded; and a package is imported when its command is used or explained. One that was installed
since, as by `%pip install`, is found when its command is first used.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING, Final

from IPython.core.error import UsageError

from e2b_magic.magics.command import Command

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "e2b_magic.commands"


@cache
def declared() -> dict[str, EntryPoint]:
    """Gives the entry points by their commands' names; of two of one name the first that is found."""
    from importlib.metadata import entry_points  # here, since it brings half of the standard library

    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, entry)
    return found


def command(name: str) -> Command | None:
    """Gives a third party's command; None when nobody declares that name.

    Raises:
        UsageError: The package that declares it cannot be imported, or gives no `Command` of that name.
    """
    if name not in declared():
        importlib.invalidate_caches()
        declared.cache_clear()
    entry = declared().get(name)
    if entry is None:
        return None
    package = entry.dist.name if entry.dist is not None else entry.module
    try:
        loaded = entry.load()
    except Exception as error:  # noqa: BLE001  whatever a stranger's module raises when it is imported
        raise UsageError(f"%e2b {name}, of {package}, cannot be loaded: {type(error).__name__}: {error}") from None
    if not isinstance(loaded, Command) or loaded.name != name:
        raise UsageError(f"%e2b {name}: {package} declares {entry.value}, which is no Command named {name!r}")
    return loaded
