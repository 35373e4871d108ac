"""Where a preview lies: at Jupyter's origin, as the browser knows it, and on the server in the sandbox.

A dev server is told the preview's path when it starts (`BASE_PATH`). Most live at their root nevertheless, and are
asked for what is below that path; one that lives there redirects from its root to it, and from then on is asked for
the whole path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from e2b_magic.server_extension.preview_headers import leads_below, moved
from e2b_magic.server_extension.tokens import Tokens

_ASKED = re.compile(r"(?P<prefix>.*?/e2b-magic/preview(?:/[^/?]+/\d+|-[^/?]+))(?P<rest>/.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """What one request to a preview asks for.

    Attributes:
        prefix: The preview's root at Jupyter's origin as this request names it, with a slash at its end.
        rest: Path and query below it, as they were sent.
        base: The root that the preview's server was told.
        token: The preview's ticket.
        tokens: What remembers where the ticket's server lives.
    """

    prefix: str
    rest: str
    base: str
    token: str = field(repr=False)
    tokens: Tokens

    @classmethod
    def asked(cls, uri: str, base: str, token: str, tokens: Tokens) -> Place | None:
        """Gives the place that a request's target names, or None where that is no preview's."""
        found = _ASKED.fullmatch(uri)
        return None if found is None else cls(f"{found['prefix']}/", found["rest"] or "/", base, token, tokens)

    @property
    def path(self) -> str:
        """Path and query by which the server in the sandbox knows what is asked for."""
        return self.base + self.rest.removeprefix("/") if self.tokens.is_at_base(self.token) else self.rest

    @property
    def page(self) -> str:
        """The address at Jupyter's origin of what is asked for, by the ticket."""
        return self.base + self.rest.removeprefix("/")

    def found_elsewhere(self, status: int, location: str | None) -> bool:
        """Whether an answer shows that the server lives elsewhere than where it was asked, which is kept.

        Args:
            status: The answer's status.
            location: Where it redirects to.
        """
        at_base = self.tokens.is_at_base(self.token)
        elsewhere = self.rest == "/" and status == 404 if at_base else leads_below(location, self.base)
        if elsewhere:
            self.tokens.found(self.token, at_base=not at_base)
        return elsewhere

    def moved(self, location: str, origin: str) -> str | None:
        """Gives where a redirect leads as seen by the browser, or None when it leads out of the preview.

        Args:
            location: What the server in the sandbox said.
            origin: Where it believes that it is asked.
        """
        return moved(location, self.path, self.prefix, origin, self.base)
