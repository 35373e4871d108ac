"""The background loop and its jobs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from e2b_magic.client.background import BackgroundLoop
from e2b_magic.worker.protocol import Emit


async def _never(emit: Emit) -> None:
    await asyncio.sleep(60)


def test_an_error_comes_out_where_it_is_waited_for() -> None:
    """Whatever a job raises is raised by `wait`."""

    async def fail(emit: Emit) -> None:
        raise LookupError("this")

    background = BackgroundLoop()
    with pytest.raises(LookupError, match="this"):
        background.submit(fail).wait()
    background.close(_nothing)


async def _nothing() -> None:
    return


def test_closing_ends_every_job_and_the_thread() -> None:
    """After `close` no thread is left, and whoever waits for a job is told that it was cancelled."""
    before = set(threading.enumerate())
    background = BackgroundLoop()
    job = background.submit(_never)
    background.close(_nothing)
    with pytest.raises(asyncio.CancelledError):
        job.wait()
    assert set(threading.enumerate()) <= before


def test_a_closed_loop_starts_again() -> None:
    """A job after `close` gets a new loop: logging in and out closes it."""

    async def seven(emit: Emit) -> int:
        return 7

    background = BackgroundLoop()
    assert background.submit(seven).wait() == 7
    background.close(_nothing)
    assert background.submit(seven).wait() == 7
    background.close(_nothing)


def test_the_interpreter_does_not_wait_for_a_job() -> None:
    """A process that ends with a job at work ends at once."""
    code = (
        "import asyncio\n"
        "from e2b_magic.client.background import BackgroundLoop\n"
        "async def never(emit): await asyncio.sleep(60)\n"
        "BackgroundLoop().submit(never)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=10)
