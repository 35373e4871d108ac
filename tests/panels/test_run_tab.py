"""The Run tab over a worker that says what it is told to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.config import EMBEDDED, Configuration
from e2b_magic.panels import RunPanel
from e2b_magic.worker.caller import FakeCaller
from e2b_magic.worker.protocol import Attached, Emit, Output, Progress

from .conftest import enter, until

TOLD = "The sandbox had ended: this is a new one, without the files of the old"


@pytest.fixture
def client(configuration: Configuration) -> Iterator[Client]:
    """Gives a client whose commands find their sandbox made anew."""
    client = Client(configuration, caller=FakeCaller({"execute_command": _anew}))
    yield client
    client.close()


async def _anew(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    await emit(Progress(TOLD))
    await emit(Attached("s2", EMBEDDED, time.time() + 3600, created=True))
    await emit(Output("stdout", "done\n"))
    return {"exit_code": 0}


def test_what_a_user_should_know_stays(client: Client) -> None:
    """That the sandbox was made anew is still said when the command is over, and Run again is allowed."""
    run = RunPanel(client)
    enter(run.command, "true")
    until(lambda: TOLD in run.message.value)
    until(lambda: not run.again_button.disabled)
    until(lambda: "exit 0" in run.status.value)
    run.close()


def test_a_stop_is_told_though_nothing_had_begun(client: Client) -> None:
    """Stop that comes before the command is on its way ends it, and that is said as of any other."""
    run = RunPanel(client)
    run.executor.observe(lambda change: run.executor.cancel(), "running")
    enter(run.command, "true")
    until(lambda: "stopped" in run.status.value)
    assert client.get_execution_history() == []
    run.close()
