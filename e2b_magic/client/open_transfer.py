"""One transfer, from the client's side: opened at a place, fed or read piece by piece, closed or discarded."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from e2b_magic.client.background import Job, OnEvent, settled
from e2b_magic.client.threads import wait_for
from e2b_magic.worker.protocol import binary
from e2b_magic.worker.requests.base import Request
from e2b_magic.worker.requests.transfers import CloseTransfer, ListTree, ReceivePiece, SendPiece

DISCARDING: Final = 1.0
"""How long to wait for a transfer that broke off to be discarded, in seconds."""
DISCARDED: Final = 0.05
"""The same of one that was being closed: who interrupts that has waited for its end already, or for long enough."""

OnProgress = Callable[[int, int], object]
"""Takes the bytes that have gone and those that there are, 0 as long as nobody knows."""


def untold(done: int, total: int) -> None:
    """An `OnProgress` for callers who do not care."""


def _counted(done: int, total: int) -> tuple[int, int]:
    """Gives the bytes that have gone, without those that an archive has beside its files, and those that there are."""
    return min(done, total or done), total


@dataclass(frozen=True, slots=True)
class Place:
    """The sandbox at the other end of a transfer, and the user there.

    Attributes:
        submitting: Gives the job that asks a worker, and has the data that it answers with.
        starting: Sends a request, whether or not anybody waits for its answer.
        target: The fields by which a request finds the sandbox.
        user: The user there.
        on_event: Called with what the worker tells on the way.
        on_progress: Called with the bytes that have gone and those that there are.
    """

    submitting: Callable[[Request, OnEvent | None], Job[dict[str, Any]]]
    starting: Callable[[Request], Future[dict[str, Any]]]
    target: dict[str, Any]
    user: str | None
    on_event: OnEvent | None
    on_progress: OnProgress

    def ask(self, kind: type[Request], **fields: Any) -> dict[str, Any]:
        """Gives the answer to a request of this kind."""
        return wait_for(self.job(kind, **fields))

    def job(self, kind: type[Request], **fields: Any) -> Job[dict[str, Any]]:
        """Gives the job that brings the answer to a request of this kind."""
        return self.submitting(kind(**self.target, **fields), self.on_event)

    def tree(self, path: str, *, checksums: bool = False) -> dict[str, Any]:
        """Gives what is at a path, with all below it.

        Raises:
            RemoteFileNotFoundError: There is nothing.
        """
        return self.ask(ListTree, path=path, user=self.user, checksums=checksums)

    @contextmanager
    def transfer(self, kind: type[Request], **fields: Any) -> Iterator[Transfer]:
        """Gives an open transfer, which is discarded when what is done with it fails, its opening included."""
        transfer = Transfer(self, uuid.uuid4().hex)
        try:
            transfer.opened = self.ask(kind, user=self.user, transfer=transfer.id, **fields)
            yield transfer
        except BaseException:
            transfer.discard()
            raise


@dataclass(slots=True)
class Transfer:
    """A transfer under way, from the client's side.

    Attributes:
        place: The other end.
        id: Its id there.
        opened: What was answered when it was opened.
    """

    place: Place
    id: str
    opened: dict[str, Any] = field(default_factory=dict)
    _closing: bool = False
    _coming: Job[dict[str, Any]] | None = None

    def send(self, pieces: Iterable[list[bytes]], total: Callable[[], int]) -> str:
        """Sends all pieces, and gives the path at which they are then.

        Args:
            pieces: What to send, each in chunks.
            total: Gives the bytes that there are, as far as is known by then.
        """
        done, on_progress = 0, self.place.on_progress
        on_progress(0, total())
        for piece in pieces:
            self.place.ask(SendPiece, transfer=self.id, content=piece)
            done += sum(map(len, piece))
            on_progress(*_counted(done, total()))
        path: str = self.close()["path"]
        return path

    def received(self, total: int = 0) -> Iterator[bytes]:
        """Gives what it brings, chunk by chunk.

        Args:
            total: The bytes that there are; what the sandbox says of that when 0.
        """
        done, on_progress = 0, self.place.on_progress
        on_progress(0, total)
        coming = self._next()
        answer = wait_for(coming)
        while piece := [binary(chunk) for chunk in answer["content"]]:
            coming = self._next()  # it comes while this one is dealt with
            done += sum(map(len, piece))
            on_progress(*_counted(done, total or answer["size"]))
            yield from piece
            answer = wait_for(coming)
        told = total or answer["size"] or done
        on_progress(told, told)

    def _next(self) -> Job[dict[str, Any]]:
        self._coming = self.place.job(ReceivePiece, transfer=self.id)
        self._coming.begin()
        return self._coming

    def close(self) -> dict[str, Any]:
        """Ends it, and gives what came of it."""
        self._closing = True
        return self.place.ask(CloseTransfer, transfer=self.id)

    def discard(self) -> None:
        """Leaves nothing of it behind; in a sandbox that is slow to answer, a while after this has returned."""
        if self._coming is not None:
            self._coming.cancel()
        discarding = self.place.starting(CloseTransfer(**self.place.target, transfer=self.id, discard=True))
        settled(discarding, DISCARDED if self._closing else DISCARDING)  # what is told is what went wrong first
