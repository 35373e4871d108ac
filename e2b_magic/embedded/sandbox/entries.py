"""What a sandbox tells of its files, and its error answers: read from JSON that is not trusted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from e2b_magic.embedded.sandbox.channel import Violation

CODES = frozenset(
    {
        "not_found",
        "already_exists",
        "not_a_directory",
        "is_a_directory",
        "no_space",
        "permission_denied",
        "invalid_argument",
        "unknown_user",
        "exhausted",
        "gone",
        "internal",
    }
)


class AgentError(Exception):
    """What was asked of a sandbox could not be done.

    Args:
        code: One of `CODES`. `exhausted`: a limit on processes, memory or descriptors; `gone`: the sandbox ended.
        message: One line that names what was wrong.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code if code in CODES else "internal"
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of a sandbox, as E2B tells of it.

    Attributes:
        name: Its name.
        path: Its absolute path.
        type: `file`, `directory`, or `unknown`: a device, a FIFO, a socket, a link that leads nowhere.
        size: Bytes; of a link, its own.
        mode: The nine permission bits; of a link, its target's.
        permissions: As Go prints them; of a link, its own: `Lrwxrwxrwx`.
        owner: A name, or a number that has none.
        group: A name, or a number that has none.
        modified_time: Seconds since the epoch.
        symlink_target: Of a link, the absolute path at its end, or its own when it leads nowhere; else None.
        metadata: What was set with the file.
    """

    name: str
    path: str
    type: str
    size: int
    mode: int
    permissions: str
    owner: str
    group: str
    modified_time: float
    symlink_target: str | None
    metadata: dict[str, str] = field(default_factory=dict)


_TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "path": (str,),
    "type": (str,),
    "size": (int,),
    "mode": (int,),
    "permissions": (str,),
    "owner": (str,),
    "group": (str,),
    "modified_time": (float, int),
    "symlink_target": (str, type(None)),
    "metadata": (dict,),
}
# What fits the protocol's fields: 64 bits of size, years 1 to 9999.
_MOST_BYTES = 2**63 - 1
_TIMES = (-62135596800, 253402300799)


def parse_entry(told: Any) -> Entry:
    """Gives the entry that an agent told of.

    Raises:
        Violation: An honest agent would not have told that.
    """
    if not isinstance(told, dict) or told.keys() != _TYPES.keys():
        raise Violation("an entry has not the fields of one")
    for name, types in _TYPES.items():
        # Not `isinstance`: True is an int to it.
        if type(told[name]) not in types:
            raise Violation(f"an entry's {name} is of the wrong type")
    if not (0 <= told["size"] <= _MOST_BYTES and 0 <= told["mode"] <= 0o777):
        raise Violation("an entry's numbers are out of their range")
    if not _TIMES[0] <= told["modified_time"] <= _TIMES[1]:
        raise Violation("an entry's time is out of its range")
    if told["type"] not in ("file", "directory", "unknown"):
        raise Violation("an entry's type is none")
    if not all(isinstance(value, str) for value in told["metadata"].values()):
        raise Violation("an entry's metadata is not text")
    return Entry(**told)


def parse_entries(told: Any) -> list[Entry]:
    """Gives the list of entries that an agent told of.

    Raises:
        Violation: An honest agent would not have told that.
    """
    if not isinstance(told, list):
        raise Violation("a list of entries is none")
    return [parse_entry(one) for one in told]


def expect_nothing(told: Any) -> None:
    """Takes the answer of what has no result.

    Raises:
        Violation: It has one.
    """
    if told is not None:
        raise Violation("an answer has a result where none belongs")
