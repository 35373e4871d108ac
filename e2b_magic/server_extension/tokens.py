"""Tokens that open our routes alone: one for the kernels of each user, one for each dev server that is looked at.

A kernel runs whatever a notebook says, and a dev server's page whatever a sandbox says: neither may hold Jupyter's own
token, which opens the files, the terminals and every other kernel. So each gets a random one. A kernel's lives as long
as the server's process; a preview's opens its port again after a restart, once its owner has looked, until Jupyter's
cookie secret is another. Only a digest is kept to look a token up by, so that no comparison takes longer the nearer a
guess is.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field

from jupyter_server.auth import User

MOST_TICKETS = 1000
"""How many previews can be open; the ticket of the one that was opened first makes room for the next."""
_NONCE, _CODE = 12, 18
"""Bytes of a ticket's token that are random, and that show for which port it is; multiples of 3 fill base64."""
_NONCE_LENGTH = _NONCE // 3 * 4


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
    """The tokens that one server has given out.

    Args:
        secret: What tickets are known by again; the cookie secret lives as long as a browser's login.
    """

    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
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
        token = self._previews.get(place)
        if token is None:
            nonce = secrets.token_urlsafe(_NONCE)
            token = self._keep(place, nonce + self._code(place, nonce))
        self._tickets[_digest(token)] = ticket
        return token

    def has_preview(self, identity: str, ticket: Ticket) -> bool:
        """Whether a token was given out for that port, or taken up, since the server has started."""
        return (identity, ticket.project, ticket.port) in self._previews

    def take_up(self, identity: str, ticket: Ticket, token: str) -> bool:
        """Lets the token that an earlier process gave out for a port open it again; says whether it is one.

        Args:
            identity: Who the user is to the worker.
            ticket: What it is said to open.
            token: What is said to be the token.
        """
        place = (identity, ticket.project, ticket.port)
        nonce, code = token[:_NONCE_LENGTH], token[_NONCE_LENGTH:]
        if place in self._previews or not hmac.compare_digest(code.encode(), self._code(place, nonce).encode()):
            return False
        self._tickets[_digest(self._keep(place, token))] = ticket
        return True

    def _code(self, place: tuple[str, str, int], nonce: str) -> str:
        """Gives what shows that a token is for a place, and was made by who knows the secret."""
        said = json.dumps(["e2b-magic preview", *place, nonce]).encode()
        return urlsafe_b64encode(hmac.digest(self._secret, said, "sha256")[:_CODE]).decode()

    def _keep(self, place: tuple[str, str, int], token: str) -> str:
        if len(self._previews) >= MOST_TICKETS:
            oldest = self._previews.pop(next(iter(self._previews)))
            del self._tickets[_digest(oldest)]
            self._at_base.discard(_digest(oldest))
        self._previews[place] = token
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
