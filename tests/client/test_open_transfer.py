"""A transfer from the client's side, over an imagined worker: what it asks for, and when."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from e2b_magic.client.background import BackgroundLoop, Job, OnEvent
from e2b_magic.client.open_transfer import Place, Transfer, untold
from e2b_magic.worker.requests.base import Request
from e2b_magic.worker.requests.transfers import ReceivePiece

_PATIENCE = 10.0


class Sandbox:
    """Gives a piece for each request, and holds up the one after the last."""

    def __init__(self) -> None:
        self.background = BackgroundLoop()
        self.pieces = [[b"a", b"b"], [b"c"]]
        self.discarded: list[Request] = []
        self.waiting, self.left = threading.Event(), threading.Event()

    async def answer(self, request: Request) -> dict[str, Any]:
        """Answers as a worker would."""
        if not isinstance(request, ReceivePiece):
            self.discarded.append(request)
            return {}
        if self.pieces:
            return {"content": self.pieces.pop(0), "size": 3}
        self.waiting.set()
        try:
            await asyncio.sleep(_PATIENCE)
        finally:
            self.left.set()
        return {"content": [], "size": 3}

    def submit(self, request: Request, on_event: OnEvent | None) -> Job[dict[str, Any]]:
        """Gives the job that has the answer."""
        return self.background.submit(lambda emit: self.answer(request), on_event)

    def start(self, request: Request) -> Future[dict[str, Any]]:
        """Asks without anybody who waits."""
        return self.background.start(lambda: self.answer(request))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Gives an imagined sandbox."""
    sandbox = Sandbox()
    yield sandbox

    async def nothing() -> None:
        return

    sandbox.background.close(nothing)


@pytest.fixture
def transfer(sandbox: Sandbox) -> Transfer:
    """Gives a transfer out of it."""
    place = Place(sandbox.submit, sandbox.start, {"project_id": "default"}, None, None, untold)
    return Transfer(place, "0" * 32)


def test_a_piece_comes_while_the_one_before_is_dealt_with(sandbox: Sandbox, transfer: Transfer) -> None:
    """The next one has been asked for when a piece's first chunk is given, and nothing comes twice or out of turn."""
    received = transfer.received()
    assert [next(received), next(received)] == [b"a", b"b"]
    assert _until_none_is_left(sandbox)
    assert next(received) == b"c"
    assert sandbox.waiting.wait(_PATIENCE)
    transfer.discard()


def _until_none_is_left(sandbox: Sandbox) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while sandbox.pieces and time.monotonic() < deadline:
        time.sleep(0.01)
    return not sandbox.pieces


def test_what_is_given_up_waits_for_no_piece(sandbox: Sandbox, transfer: Transfer) -> None:
    """A piece that has been asked for is waited for by nobody once its transfer has been discarded."""
    received = transfer.received()
    assert [next(received) for _ in range(3)] == [b"a", b"b", b"c"]
    assert sandbox.waiting.wait(_PATIENCE)
    transfer.discard()
    assert sandbox.left.wait(_PATIENCE / 2)
    assert len(sandbox.discarded) == 1


class Taker:
    """Takes what is sent, and ends a download after three pieces whose number nobody has told."""

    def __init__(self) -> None:
        self.pieces = [[b"aa"], [b"bb"], [b"c"], []]

    async def answer(self, request: Request) -> dict[str, Any]:
        """Answers as a worker would."""
        if isinstance(request, ReceivePiece):
            return {"content": self.pieces.pop(0), "size": 0}
        return {"path": "there"}


@pytest.mark.parametrize(
    ("total", "seen"), [(0, [(0, 0), (2, 0), (4, 0), (5, 0), (5, 5)]), (4, [(0, 4), (2, 4), (4, 4), (4, 4), (4, 4)])]
)
def test_what_has_gone_is_told_also_while_nobody_knows_how_much_there_is(
    total: int, seen: list[tuple[int, int]]
) -> None:
    """What comes is counted without a total; with one, what an archive adds to its files is not counted."""
    taker, background, told = Taker(), BackgroundLoop(), list[tuple[int, int]]()

    def submit(request: Request, on_event: OnEvent | None) -> Job[dict[str, Any]]:
        return background.submit(lambda emit: taker.answer(request), on_event)

    def start(request: Request) -> Future[dict[str, Any]]:
        return background.start(lambda: taker.answer(request))

    place = Place(submit, start, {"project_id": "default"}, None, None, lambda done, total: told.append((done, total)))
    transfer = Transfer(place, "0" * 32)
    assert b"".join(transfer.received(total)) == b"aabbc"
    assert told == seen
    told.clear()
    transfer.send([[b"aa"], [b"bb"]], lambda: total)
    assert told == [(0, total), (2, total), (4, total)]

    async def nothing() -> None:
        return

    background.close(nothing)
