"""Requests on a terminal in a sandbox: a shell that somebody sits at.

`OpenTerminal` is answered when the shell ends, and its output comes as events meanwhile. The client gives the terminal
its id, and names it with what is typed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.worker.requests.base import Request, check_text

LARGEST = 10_000
"""The most rows or columns that a terminal may have; the kernel's own limit is 65535."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnTerminal(Request):
    terminal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sized(_OnTerminal):
    rows: int
    columns: int

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        if not (0 < self.rows <= LARGEST and 0 < self.columns <= LARGEST):
            raise InvalidRequestError(f"a terminal has from 1 to {LARGEST:,} rows and columns")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTerminal(_Sized):
    """Run a login shell on a terminal of its own; the answer's `exit_code` is the shell's.

    Attributes:
        terminal: The id by which the client names it from now on.
        cwd: The working directory; the user's home when None.
        user: The user inside the sandbox; the template's when None.
    """

    type: ClassVar[str] = "open_terminal"
    cwd: str | None = None
    user: str | None = None

    def __post_init__(self) -> None:
        _Sized.__post_init__(self)
        if not self.terminal or len(self.terminal) > 64:
            raise InvalidRequestError("a terminal's id has from 1 to 64 characters")
        check_text("The working directory", self.cwd or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizeTerminal(_Sized):
    """Give a terminal another size."""

    type: ClassVar[str] = "resize_terminal"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendInput(_OnTerminal):
    """Type something."""

    type: ClassVar[str] = "send_input"
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseTerminal(_OnTerminal):
    """Hang up: the shell and what runs in its foreground end."""

    type: ClassVar[str] = "close_terminal"
