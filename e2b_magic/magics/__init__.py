"""The magics: `%e2b`, `%%e2b` and `%%e2b_file`.

`load` registers one `E2BMagics` (in `extension`). A line goes through `registry`, which finds the `Command` it names;
the command's declaration says how the rest is read (`scanning` finds where options end, `expansion` puts Python values
in, argparse converts), how it is completed (`completion`) and explained (`help`). Its function, in `running`, `files`,
`past`, `projects` or `account`, makes one call into the client and gives something `display` knows how to show; what
comes on the way goes through `streaming` into the cell. Errors are dressed in one line by `errors`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from e2b_magic.magics.display import Show


def load(ipython: InteractiveShell) -> None:
    """Brings the magics, their options for `%config` and their completion; loading twice is loading once."""
    from e2b_magic.magics.extension import E2BMagics

    _withdraw(ipython)
    magics = E2BMagics(shell=ipython, parent=ipython)  # which puts itself among the shell's configurables
    ipython.register_magics(magics)
    ipython.Completer.custom_matchers.append(magics.matcher)
    ipython.events.register("post_run_cell", magics.announce)
    for name, show in _shown().items():
        _text_formatter(ipython).for_type(name, show)


def _shown() -> dict[str, Show]:
    """Gives how records are shown that a magic gives, by their names: so that loading needs no records."""
    from e2b_magic.magics import jobs, snapshots

    return {"e2b_magic.records.jobs.BackgroundJob": jobs.SHOW, "e2b_magic.records.sandboxes.Snapshot": snapshots.SHOW}


def _text_formatter(ipython: InteractiveShell) -> Any:
    formatter: Any = ipython.display_formatter  # annotated, by IPython, as if a shell might have none
    return formatter.formatters["text/plain"]


def unload(ipython: InteractiveShell) -> None:
    """Takes away what `load` brought and closes the client; sandboxes live on until their time is over."""
    _withdraw(ipython)
    if "e2b_magic.client" in sys.modules:  # else no client was ever made, and importing it would be for nothing
        from e2b_magic.client import set_shared_client

        set_shared_client(None)


def _withdraw(ipython: InteractiveShell) -> None:
    from e2b_magic.magics.extension import E2BMagics

    for name in _shown():
        _text_formatter(ipython).pop(name, None)
    configurables: list[Any] = ipython.configurables  # annotated, by IPython, as if only the shell were one
    for magics in [one for one in configurables if isinstance(one, E2BMagics)]:
        configurables.remove(magics)
        if magics.matcher in ipython.Completer.custom_matchers:
            ipython.Completer.custom_matchers.remove(magics.matcher)
        if magics.announce in ipython.events.callbacks["post_run_cell"]:
            ipython.events.unregister("post_run_cell", magics.announce)
        for kind, names in magics.magics.items():
            for name in names:
                ipython.magics_manager.magics[kind].pop(name, None)
