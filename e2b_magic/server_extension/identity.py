"""Who asks: a user of Jupyter's, or by a token of ours a kernel of that user's, or a preview's page."""

from __future__ import annotations

import re
from typing import Any

from jupyter_server.auth import IdentityProvider, User
from jupyter_server.auth.identity import LegacyIdentityProvider, PasswordIdentityProvider
from jupyter_server.utils import ensure_async

from e2b_magic.server_extension.tokens import Ticket, Tokens

OWNER = "owner"
_NAMELESS = (IdentityProvider, PasswordIdentityProvider, LegacyIdentityProvider)
_BEARER = re.compile(r"(?:token|bearer)\s+(\S+)", re.IGNORECASE)


def identity_of(provider: IdentityProvider, user: User) -> str:
    """Gives the name under which a user's sandboxes and limits are kept.

    Jupyter's own providers know one secret and no names: to each browser they give a random name. Whoever has the
    secret has the whole server, so all of them are its owner. Any other provider is believed.

    Args:
        provider: The server's.
        user: Whom it has let in.
    """
    return OWNER if type(provider) in _NAMELESS else f"user:{user.username}"


class KernelIdentity:
    """Stands before the server's identity provider on our routes and knows the kernels' tokens beside.

    All else, the checks of Host, Origin and XSRF included, stays what Jupyter does with the answers.

    Args:
        provider: The server's identity provider.
        tokens: The tokens that were given to kernels.
    """

    def __init__(self, provider: IdentityProvider, tokens: Tokens) -> None:
        self._provider = provider
        self._tokens = tokens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    def _kernel(self, handler: Any) -> User | None:
        # From the header alone: a token in a URL ends up in logs and histories.
        bearer = _BEARER.fullmatch(handler.request.headers.get("Authorization", "").strip())
        return None if bearer is None else self._tokens.user(bearer[1])

    async def get_user(self, handler: Any) -> User | None:
        """Gives the user that a request comes from, or None."""
        known = self._kernel(handler)
        return known if known is not None else await ensure_async(self._provider.get_user(handler))

    def is_token_authenticated(self, handler: Any) -> bool:
        """Whether a token was shown, which no foreign page can: then neither Origin nor XSRF need be looked at."""
        return self._kernel(handler) is not None or self._provider.is_token_authenticated(handler)

    def should_check_origin(self, handler: Any) -> bool:
        """Whether the Origin must be looked at."""
        return not self.is_token_authenticated(handler)


class TicketIdentity(IdentityProvider):
    """Lets in whoever knows a preview's ticket, as its user, and nobody else.

    Args:
        ticket: What the token in the path opens; None where it is no ticket.
    """

    def __init__(self, ticket: Ticket | None) -> None:
        super().__init__()
        self._ticket = ticket

    async def get_user(self, handler: Any) -> User | None:
        """Gives the ticket's user."""
        return None if self._ticket is None else self._ticket.user

    def is_token_authenticated(self, handler: Any) -> bool:
        """Whether there is a ticket: like any token, it is nothing that a browser sends by itself."""
        return self._ticket is not None

    def should_check_origin(self, handler: Any) -> bool:
        """Whether the Origin must be looked at."""
        return self._ticket is None
