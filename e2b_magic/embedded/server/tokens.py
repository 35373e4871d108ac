"""The secrets that open the embedded server, and the signatures that stand in for one.

The daemon has one API key for its control routes; each sandbox has an access token of its own for what goes on
inside it. A file's URL may carry a signature instead of the token, so that it can be handed to a browser. Every
comparison takes the same time whether it fails early or late.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Literal

Operation = Literal["read", "write"]


def new_api_key() -> str:
    """Gives a new API key: `e2b_` and 40 hexadecimal digits, the form that the SDK checks on its side."""
    return f"e2b_{secrets.token_hex(20)}"


def new_sandbox_id() -> str:
    """Gives a new sandbox id: an `i` and 20 hexadecimal digits, a single label of a host name."""
    return f"i{secrets.token_hex(10)}"


def new_access_token() -> str:
    """Gives a new access token."""
    return secrets.token_hex(32)


def equal(given: str | None, expected: str) -> bool:
    """Whether a presented secret is the expected one."""
    return given is not None and hmac.compare_digest(given.encode(), expected.encode())


@dataclass(frozen=True, slots=True)
class FileSignature:
    """The signature a file's URL carries.

    Attributes:
        value: The signature itself.
        path: The path as the URL gives it.
        operation: What it allows.
        user: The user the URL names; empty when it names none.
        expires: Seconds since the epoch, or None for never.
    """

    value: str
    path: str
    operation: Operation
    user: str
    expires: int | None

    def matches(self, token: str) -> bool:
        """Whether it was made with a sandbox's access token (the SDK's `e2b.sandbox.signature` gives the recipe)."""
        text = f"{self.path}:{self.operation}:{self.user}:{token}"
        if self.expires is not None:
            text += f":{self.expires}"
        digest = hashlib.sha256(text.encode()).digest()
        return equal(self.value, "v1_" + base64.b64encode(digest).rstrip(b"=").decode())

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires < time.time()
