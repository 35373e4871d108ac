"""Names of hosts, as rules write them."""

from __future__ import annotations

from dataclasses import dataclass

from e2b_magic.embedded.egress.destination import parse_name


@dataclass(frozen=True, slots=True)
class NamePattern:
    """Names of hosts: one, or all below one (`*.example.com`), or all (`*`).

    Attributes:
        name: The name, without what stands for others.
        below: Whether the names below it are meant, and not the name itself.
    """

    name: str
    below: bool

    @classmethod
    def parse(cls, text: str) -> NamePattern:
        """Gives the pattern that a text is.

        Raises:
            ValueError: It is none.
        """
        if text == "*":
            return cls("", below=True)
        rest = text.removeprefix("*.")
        return cls(parse_name(rest), below=rest != text)

    def matches(self, name: str) -> bool:
        """Whether a name, in lower case, is one of those meant."""
        if not self.below:
            return name == self.name
        # With the dot: `evilexample.com` is not below `example.com`.
        return not self.name or name.endswith(f".{self.name}")
