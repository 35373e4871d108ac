"""What every request is: a frozen dataclass that checks its own fields and travels as JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.worker.kinds import check_kinds, kinds_of

PROJECT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


LONGEST_LIFE: Final = 30 * 24 * 3600
"""The longest life of a sandbox, in seconds: whatever a plan allows, more than that is a slip."""
_LONGEST_ORIGIN: Final = 8192  # a session's id, and a path of up to 4096 bytes of which some may be escaped


def check_project_name(name: object) -> str:
    """Gives the name back when it can name a project.

    Raises:
        InvalidRequestError: It holds a slash, a leading dot or anything else that a name may not hold.
    """
    if isinstance(name, str) and PROJECT_NAME.fullmatch(name):
        return name
    raise InvalidRequestError(
        f"{name!r} cannot name a project: use up to 64 letters, digits, '.', '_' and '-', a letter or digit first"
    )


def check_text(what: str, text: str, *, nul: bool = False) -> None:
    """Refuses text that cannot be sent, without repeating it, since it may be a secret.

    Args:
        what: What the text is, for the message.
        text: The text.
        nul: Whether it may hold NUL characters.

    Raises:
        InvalidRequestError: It holds a NUL character, or half of a surrogate pair.
    """
    if "\0" in text and not nul:
        raise InvalidRequestError(f"{what} holds a NUL character, which no shell and no file system can read")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        position = error.start
        raise InvalidRequestError(f"{what} holds half a character (a lone surrogate) at {position:,}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What every request carries.

    Attributes:
        type: The word that stands for the class where a request travels.
        repeatable: Whether it changes nothing, so that it may be sent again when its answer was lost.
        project_id: The project's name.
        template: The sandbox template, should a sandbox have to be made.
        sandbox_id: The sandbox that the client last knew for this project; empty when it knew none.
        sandbox_timeout: How long the project's sandbox lives after its last use, in seconds; 0 for the usual time.
        origin: Who asks, for a sandbox that has to be made to carry: see `client.orphans`.
    """

    type: ClassVar[str]
    repeatable: ClassVar[bool] = False
    project_id: str
    template: str = "base"
    sandbox_id: str = ""
    sandbox_timeout: int = 0
    origin: str = ""

    def __post_init__(self) -> None:
        check_kinds(self)
        check_project_name(self.project_id)
        if not 0 <= self.sandbox_timeout <= LONGEST_LIFE:
            raise InvalidRequestError(f"sandbox_timeout must lie between 0 and 30 days, not {self.sandbox_timeout!r} s")
        if len(self.origin) > _LONGEST_ORIGIN:
            raise InvalidRequestError(f"origin has at most {_LONGEST_ORIGIN:,} characters, not {len(self.origin):,}")

    def to_json(self) -> dict[str, Any]:
        """Gives the mapping that `parse_request` (in `worker.validation`) reads."""
        # Not asdict, which copies deeply what nobody changes, nor `fields`, which is looked up anew each time.
        return {"type": self.type, **{name: getattr(self, name) for name in kinds_of(type(self))}}
