"""Copies of sandboxes: forks, which run at once, and snapshots, which wait.

What runs in a sandbox stands still while its files are copied, and goes on. Its processes are not copied: a copy starts
from files, as after a pause that kept files alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

from e2b_magic.embedded.server.live import LiveSandbox
from e2b_magic.embedded.server.pauses import hold_still
from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.record import Record
from e2b_magic.embedded.server.sandboxes import Sandboxes
from e2b_magic.embedded.server.snapshots import Snapshot, copied

_log = logging.getLogger(__name__)


async def take_snapshot(sandboxes: Sandboxes, record: Record, name: str | None) -> Snapshot:
    """Takes a snapshot of a sandbox, running or paused.

    Raises:
        ProtocolError: It is gone, cannot be held still, or the disk is full.
    """
    async with _still(sandboxes, record):
        snapshot = await sandboxes.snapshots.take(record, name)
    record.log.add("snapshot taken", event="snapshot", snapshot=snapshot.reference)
    return snapshot


async def fork(
    sandboxes: Sandboxes, record: Record, *, count: int, seconds: float
) -> list[LiveSandbox | ProtocolError]:
    """Makes copies of a running sandbox that run on by themselves, with all that its client asked for.

    The first copy is made while it stands still, and the others from the first, before that starts.

    Args:
        sandboxes: The register.
        record: Which sandbox.
        count: How many.
        seconds: How long each is to live.

    Returns:
        Each copy, or why there is none.

    Raises:
        ProtocolError: It is gone or paused, cannot be held still, or the first copy failed.
    """
    creation = replace(record.creation, timeout=seconds)
    copies = [sandboxes.new_record(creation, base=record.base) for _ in range(count)]
    async with _still(sandboxes, record, running=True):
        await copied(record.directory, copies[0].directory)
    record.log.add("sandbox forked", event="fork", count=str(count))
    first, *others = copies
    outcomes = await asyncio.gather(
        *(copied(first.directory, other.directory) for other in others), return_exceptions=True
    )
    started = await asyncio.gather(
        *(_started(sandboxes, one, failure) for one, failure in zip(copies, [None, *outcomes], strict=True)),
        return_exceptions=True,
    )
    return [_outcome(one, outcome) for one, outcome in zip(copies, started, strict=True)]


async def _started(sandboxes: Sandboxes, record: Record, failure: BaseException | None) -> LiveSandbox:
    if failure is not None:
        raise failure
    return await sandboxes.start_copy(record, record.creation.timeout)


def _outcome(record: Record, outcome: LiveSandbox | BaseException) -> LiveSandbox | ProtocolError:
    """Gives a refusal for whatever went wrong: the other copies run, and their client must hear of them."""
    if isinstance(outcome, LiveSandbox | ProtocolError):
        return outcome
    _log.error("a copy of a sandbox did not start: %s", record.id, exc_info=outcome)
    return ProtocolError(500, "the embedded server failed: its log says why")


@contextlib.asynccontextmanager
async def _still(sandboxes: Sandboxes, record: Record, *, running: bool = False) -> AsyncIterator[None]:
    """Keeps a sandbox's files from changing; a paused one's do not.

    Args:
        sandboxes: The register.
        record: Which sandbox.
        running: Whether it must not be paused.
    """
    async with record.changing:
        sandbox = sandboxes.get(record.id)
        if sandbox is None and sandboxes.record(record.id) is not record:
            raise sandboxes.missing(record.id)
        if sandbox is None and running:
            raise ProtocolError(409, f'sandbox "{record.id}" is paused: resume it first')
        if sandbox is not None:
            await hold_still(sandbox)
        try:
            yield
        finally:
            if sandbox is not None:
                await sandbox.contained.thaw()
