"""The headers that a sandbox's creator puts into requests on their way out: E2B's `rules`.

A key that stands in such a header is known outside alone: what runs in the sandbox uses it and never sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from e2b_magic.embedded.egress.destination import Destination
from e2b_magic.embedded.egress.names import NamePattern

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Transform:
    """What is done to the requests to some hosts.

    Attributes:
        pattern: The hosts' names.
        headers: What is put in; a header of the same name goes. Shown nowhere.
    """

    pattern: NamePattern
    headers: tuple[Header, ...] = field(repr=False)

    def applied(self, headers: Sequence[Header]) -> list[Header]:
        """Gives the headers of a request as its destination is to get them."""
        replaced = {name.lower() for name, _ in self.headers}
        return [header for header in headers if header[0].lower() not in replaced] + list(self.headers)


def transform_for(destination: Destination, transforms: Sequence[Transform]) -> Transform | None:
    """Gives what is done to requests to a destination; None for nothing.

    As at E2B one rule alone holds: an exact name's before those for names below one, and of these the longest's. So it
    is the longest of all, for no name is below itself.
    """
    host = destination.host
    meant = [each for each in transforms if isinstance(host, str) and each.pattern.matches(host)]
    return max(meant, key=lambda each: len(each.pattern.name), default=None)
