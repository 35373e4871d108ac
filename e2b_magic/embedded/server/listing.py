"""Lists of sandboxes: which of them a query means, in which order, and a page at a time."""

from __future__ import annotations

import base64
import binascii
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from urllib.parse import unquote, unquote_plus

from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.record import Record

_STATES = frozenset({"running", "paused"})
_LARGEST_PAGE = 100

Position = tuple[float, str]


def metadata_in(text: str) -> dict[str, str]:
    """Gives the metadata that a list is to be filtered by.

    The SDKs encode names and values, then the pairs as a query, then that as a parameter of the URL. The last is
    undone by whoever read the URL; the second as a whole, as E2B does it, for others encode the signs between them too.
    """
    pairs = (pair.partition("=") for pair in unquote_plus(text).split("&"))
    return {unquote(name): unquote(value) for name, _, value in pairs if name}


def _time_in(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:  # the latter for the first and the last day of the calendar
        raise ProtocolError(400, "startedAfter must be a time as in RFC 3339") from error


def _token_of(position: Position) -> str:
    started_at, sandbox_id = position
    return base64.urlsafe_b64encode(f"{started_at!r}/{sandbox_id}".encode()).decode()


def _position_in(token: str) -> Position:
    try:
        started_at, _, sandbox_id = base64.urlsafe_b64decode(token).decode().partition("/")
        return float(started_at), sandbox_id
    except (binascii.Error, ValueError) as error:
        raise ProtocolError(400, "nextToken is not one that this server gave") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a list is to show.

    Attributes:
        states: The states of the sandboxes wanted.
        metadata: What their metadata must hold.
        template: The template they must be made from; None for any.
        started_after: When they must have started at the earliest, in seconds since the epoch.
        descending: Whether the youngest come first.
        limit: How many at most.
        after: Where the page before ended; None for the first page.
    """

    states: frozenset[str]
    metadata: Mapping[str, str]
    template: str | None
    started_after: float
    descending: bool
    limit: int
    after: Position | None

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> Self:
        """Gives the query that a URL's parameters describe.

        Raises:
            ProtocolError: One of them is wrong.
        """
        states = frozenset(filter(None, parameters.get("state", "").split(","))) or _STATES
        if states - _STATES:
            raise ProtocolError(400, "state must be running, paused or both")
        order = parameters.get("order", "desc")
        if order not in ("asc", "desc"):
            raise ProtocolError(400, f"order must be asc or desc, not {order!r}")
        limit = parameters.get("limit", str(_LARGEST_PAGE))
        # No number of a thousand digits is read: Python refuses those of more than 4,300.
        if not re.fullmatch("[0-9]{1,9}", limit) or not 1 <= int(limit) <= _LARGEST_PAGE:
            raise ProtocolError(400, f"limit must be from 1 to {_LARGEST_PAGE}, not {reprlib.repr(limit)}")
        token, started_after = parameters.get("nextToken"), parameters.get("startedAfter")
        return cls(
            states=states,
            metadata=metadata_in(parameters.get("metadata", "")),
            template=parameters.get("template"),
            started_after=_time_in(started_after) if started_after else 0.0,
            descending=order == "desc",
            limit=int(limit),
            after=_position_in(token) if token else None,
        )

    def _wants(self, sandbox: Record) -> bool:
        return (
            sandbox.state in self.states
            and self.template in (None, sandbox.creation.template)
            and sandbox.started_at >= self.started_after
            and self.metadata.items() <= sandbox.creation.metadata.items()
        )

    def _follows(self, sandbox: Record) -> bool:
        if self.after is None:
            return True
        position = _position_of(sandbox)
        return position < self.after if self.descending else position > self.after

    def page(self, sandboxes: Iterable[Record]) -> tuple[list[Record], str | None]:
        """Gives one page of the sandboxes wanted, and the token for the next if there is one."""
        wanted = [sandbox for sandbox in sandboxes if self._wants(sandbox) and self._follows(sandbox)]
        wanted.sort(key=_position_of, reverse=self.descending)
        page = wanted[: self.limit]
        return page, _token_of(_position_of(page[-1])) if len(wanted) > len(page) else None


def _position_of(sandbox: Record) -> Position:
    return sandbox.started_at, sandbox.id
