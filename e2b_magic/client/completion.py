"""What Tab may offer of a sandbox's files, without ever waiting for a slow sandbox, or making one.

A directory's names are asked for on the background loop and remembered for a moment. Who asks gets what is there
within some milliseconds: on this machine that is the answer itself, elsewhere what the last asking brought.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from e2b_magic.client.background import settled
from e2b_magic.client.verbs import Verbs
from e2b_magic.interrupts import deferred
from e2b_magic.records import FileEntry
from e2b_magic.worker.protocol import Event
from e2b_magic.worker.requests.base import check_project_name
from e2b_magic.worker.requests.files import PeekDirectory

WAIT: Final = 0.03
"""How long to wait for a directory's names, in seconds; with all around it a completion takes less than 50 ms."""
FRESH: Final = 2.0
"""How long a directory's names are given without asking anew, in seconds."""
_KEPT: Final = 100


@dataclass(frozen=True, slots=True)
class _Listing:
    names: tuple[str, ...]
    at: float


async def _unheard(event: Event) -> None:
    """Takes the events of what nobody waits for."""


class CompletionVerbs(Verbs):
    """Looking into a sandbox in passing."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._listings: dict[tuple[str, str], _Listing] = {}
        self._asking: dict[tuple[str, str], Future[None]] = {}

    def peek_directory(self, path: str, project: str | None = None, *, wait: float = WAIT) -> tuple[str, ...]:
        """Gives the names in a directory of a project's sandbox, directories' with a slash, as far as they are known.

        Nothing is made, resumed or raised: where there is no sandbox, or it does not answer, there are no names.

        Args:
            path: The directory.
            project: The project's name; the current one when left out.
            wait: How long to wait for names that are not known yet, in seconds.
        """
        known = self._recorder.known(check_project_name(project or self.project))
        here = known is not None and known.backend == self.configuration.backend
        if known is None or not here or not known.sandbox_id or known.paused or known.sandbox_expires_at < time.time():
            return ()
        key = (known.sandbox_id, path)
        listing = self._listings.get(key)
        if listing is None or time.monotonic() - listing.at > FRESH:
            self._await_briefly(key, PeekDirectory(**self._work.target({"project": known.name}), path=path), wait)
        listing = self._listings.get(key)
        return () if listing is None else listing.names

    def _await_briefly(self, key: tuple[str, str], request: PeekDirectory, wait: float) -> None:
        asking = self._asking.get(key)
        if asking is None:
            with deferred():
                asking = self._asking[key] = self.in_background(lambda: self._ask(key, request))
                asking.add_done_callback(lambda _: self._asking.pop(key, None))
        # What is wrong with the sandbox is told by the command that is being written, when it is run.
        settled(asking, wait)

    async def _ask(self, key: tuple[str, str], request: PeekDirectory) -> None:
        entries = map(FileEntry.from_json, (await self._work.call(request, _unheard))["entries"])
        names = tuple(f"{entry.name}/" if entry.type == "dir" else entry.name for entry in entries)
        while len(self._listings) >= _KEPT:
            del self._listings[next(iter(self._listings))]
        self._listings[key] = _Listing(names, time.monotonic())
