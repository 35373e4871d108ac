"""A watch on a directory of a sandbox, as the daemon holds it: asked for what has happened, answered by the agent.

The agent keeps the events until they are asked for, within a bound. So a sandbox cannot fill the daemon's memory, and
a client that is slow slows down nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from e2b_magic.embedded.sandbox.channel import Violation
from e2b_magic.embedded.sandbox.entries import Entry, expect_nothing, parse_entry
from e2b_magic.embedded.sandbox.machine import Machine

TYPES = frozenset({"create", "write", "remove", "rename", "chmod"})


@dataclass(frozen=True, slots=True)
class FileEvent:
    """Something that happened in a watched directory.

    Attributes:
        name: Of what, relative to the directory; `.` for the directory itself.
        type: `create`, `write`, `remove`, `rename` (away from this name) or `chmod`.
        entry: What is there, where that was asked for and is still so.
    """

    name: str
    type: str
    entry: Entry | None


def parse_events(told: Any) -> list[FileEvent]:
    """Gives the events that an agent told of.

    Raises:
        Violation: An honest agent would not have told that.
    """
    if not isinstance(told, list):
        raise Violation("a list of events is none")
    return [_parse_event(one) for one in told]


def _parse_event(told: Any) -> FileEvent:
    if not isinstance(told, dict) or told.keys() != {"name", "type", "entry"}:
        raise Violation("an event has not the fields of one")
    name, kind, entry = told["name"], told["type"], told["entry"]
    if not isinstance(name, str) or not isinstance(kind, str) or kind not in TYPES:
        raise Violation("an event is of no known type")
    return FileEvent(name, kind, None if entry is None else parse_entry(entry))


class Watch:
    """A watch on a directory; made by `Sandbox.watch`.

    Args:
        machine: What runs the sandbox.
        number: What the agent calls the watch.
    """

    def __init__(self, machine: Machine, number: int) -> None:
        self._machine = machine
        self._number = number

    async def begin(self, path: str, user: str, *, recursive: bool, include_entry: bool) -> None:
        """Begins to watch; see `Sandbox.watch`."""
        try:
            await self._machine.ask(
                "watch",
                lambda told, _: expect_nothing(told),
                watch=self._number,
                path=path,
                user=user,
                recursive=recursive,
                include_entry=include_entry,
            )
        except BaseException:
            self.close()  # whoever was cancelled does not know whether it began
            raise

    async def events(self, *, wait: bool) -> list[FileEvent]:
        """Gives what has happened since it was last asked for.

        Whoever cancels this may lose what was on its way.

        Args:
            wait: Whether to wait until something has; else there may be nothing.

        Raises:
            AgentError: `exhausted`: not all could be kept; the next call goes on. `not_found`: the watch was removed.
        """
        return await self._machine.ask("events", lambda told, _: parse_events(told), watch=self._number, wait=wait)

    async def remove(self) -> None:
        """Ends the watch.

        Raises:
            AgentError: `not_found`: it was removed already.
        """
        await self._machine.ask("remove_watch", lambda told, _: expect_nothing(told), watch=self._number)

    def close(self) -> None:
        """Ends the watch without waiting for it; to close twice is no mistake."""
        self._machine.tell({"do": "forget_watch", "watch": self._number})
