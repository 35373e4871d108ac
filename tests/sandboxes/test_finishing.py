"""What a cancellation ends, and what it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from e2b_magic.sandboxes import files, jobs, terminals
from e2b_magic.sandboxes.commands import Execution
from e2b_magic.sandboxes.finishing import finishing, heed_cancellation
from e2b_magic.worker.protocol import ignore
from e2b_magic.worker.requests.commands import ExecuteCommand
from e2b_magic.worker.requests.files import ReadFile
from e2b_magic.worker.requests.jobs import StartJob
from e2b_magic.worker.requests.terminals import OpenTerminal


async def test_a_short_call_goes_on_when_its_caller_is_cancelled() -> None:
    """The waiting ends at once, the call in its own time."""
    over = asyncio.Event()

    async def call() -> None:
        await asyncio.sleep(0.05)
        over.set()

    waiting = asyncio.create_task(finishing(call()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not over.is_set()
    await asyncio.wait_for(over.wait(), 10)


async def test_a_cancellation_that_was_dropped_is_heeded() -> None:
    """A library that takes a cancellation for its own does not make the task go on with what lasts."""
    reached = []

    async def work() -> None:
        heed_cancellation()  # nobody has cancelled yet
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        reached.append("went on")
        heed_cancellation()
        reached.append("began what lasts")

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reached == ["went on"]


class _Untouched:
    """A lease, a sandbox or a manager that nobody may use."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was used")


_NOBODY: Any = _Untouched()


@pytest.mark.parametrize(
    "begin",
    [
        lambda: Execution(_NOBODY, _NOBODY, ExecuteCommand(project_id="p", command="c"), ignore).run(),
        lambda: jobs.begin(_NOBODY, _NOBODY, StartJob(project_id="p", command="c")),
        lambda: files.shell(_NOBODY, ReadFile(project_id="p", path="f"), "c"),
        lambda: terminals._serve(
            _NOBODY, _NOBODY, OpenTerminal(project_id="p", terminal="0" * 32, rows=24, columns=80)
        ),
    ],
    ids=["a command", "a job", "a script", "a shell"],
)
async def test_nothing_that_lasts_is_begun_after_a_cancellation(begin: Callable[[], Awaitable[object]]) -> None:
    """What would run on in the sandbox is not even sent there when a cancellation has been dropped before."""

    async def work() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await begin()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
