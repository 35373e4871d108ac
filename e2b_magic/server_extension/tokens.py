"""Tokens that open our routes alone: one for the kernels of each user, one for each dev server that is looked at.

A kernel runs whatever a notebook says, and a dev server's page whatever a sandbox says: neither may hold Jupyter's own
token, which opens the files, the terminals and every other kernel. So each gets a random one that lives as long as
the server's process. Only a digest is kept to look a token up by, so that no comparison takes longer the nearer a
guess is.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

from jupyter_server.auth import User

MOST_TICKETS = 1000
"""How many previews can be open; the ticket of the one that was opened first makes room for the next."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a preview's token opens.

    Attributes:
        user: Whose sandbox it is.
        project: The project's name.
        port: The dev server's port.
    """

    user: User
    project: str
    port: int


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


@dataclass(slots=True)
class Tokens:
    """The tokens that one server has given out."""

    _kernels: dict[str, str] = field(default_factory=dict, repr=False)
    _users: dict[bytes, User] = field(default_factory=dict, repr=False)
    _previews: dict[tuple[str, str, int], str] = field(default_factory=dict, repr=False)
    _tickets: dict[bytes, Ticket] = field(default_factory=dict, repr=False)
    _at_base: set[bytes] = field(default_factory=set, repr=False)

    def for_kernels(self, identity: str, user: User) -> str:
        """Gives the token of a user's kernels.

        Args:
            identity: Who the user is to the worker.
            user: Whom Jupyter takes the bearer for; the newest one is kept, with what it may do.
        """
        token = self._kernels.setdefault(identity, f"e2bw_{secrets.token_urlsafe(32)}")
        self._users[_digest(token)] = user
        return token

    def user(self, token: str) -> User | None:
        """Gives whose kernels have a token, or None when it is none of ours."""
        return self._users.get(_digest(token))

    def for_preview(self, identity: str, ticket: Ticket) -> str:
        """Gives the token that opens one port of one project's sandbox."""
        place = (identity, ticket.project, ticket.port)
        if place not in self._previews:
            if len(self._previews) >= MOST_TICKETS:
                oldest = self._previews.pop(next(iter(self._previews)))
                del self._tickets[_digest(oldest)]
                self._at_base.discard(_digest(oldest))
            self._previews[place] = secrets.token_urlsafe(24)
        token = self._previews[place]
        self._tickets[_digest(token)] = ticket
        return token

    def ticket(self, token: str) -> Ticket | None:
        """Gives what a preview's token opens, or None when it is none of ours."""
        return self._tickets.get(_digest(token))

    def is_at_base(self, token: str) -> bool:
        """Whether what a preview's token opens was found to live below the preview's own path, not at its root."""
        return _digest(token) in self._at_base

    def found(self, token: str, *, at_base: bool) -> None:
        """Keeps where what a preview's token opens was found to live."""
        if at_base:
            self._at_base.add(_digest(token))
        else:
            self._at_base.discard(_digest(token))
