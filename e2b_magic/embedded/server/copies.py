"""Copies of sandboxes: forks, which run at once, and snapshots, which wait.

What runs in a sandbox stands still while its files are copied, and goes on. Its processes are not copied: a copy starts
from files, as after a pause that kept files alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from e2b_magic.embedded.containment.removal import remove_state
from e2b_magic.embedded.server.blocking import in_thread
from e2b_magic.embedded.server.live import LiveSandbox
from e2b_magic.embedded.server.pauses import hold_still
from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.record import Record
from e2b_magic.embedded.server.sandboxes import Sandboxes
from e2b_magic.embedded.server.snapshots import Snapshot, copied


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
    results: list[LiveSandbox | ProtocolError] = []
    for outcome in started:
        if isinstance(outcome, BaseException) and not isinstance(outcome, ProtocolError):
            raise outcome
        results.append(outcome)
    return results


async def _started(sandboxes: Sandboxes, record: Record, failure: BaseException | None) -> LiveSandbox:
    if failure is not None:
        await in_thread(remove_state, record.directory)
        raise failure
    return await sandboxes.start_copy(record, record.creation.timeout)


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
