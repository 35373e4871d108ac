"""The Run tab over a worker that says what it is told to."""

from __future__ import annotations

import time
from typing import Any

from e2b_magic.client import Client
from e2b_magic.config import EMBEDDED, Configuration
from e2b_magic.panels import RunPanel
from e2b_magic.worker.caller import FakeCaller
from e2b_magic.worker.protocol import Attached, Emit, Output, Progress

from .conftest import enter, until

TOLD = "The sandbox had ended: this is a new one, without the files of the old"


async def _anew(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    await emit(Progress(TOLD))
    await emit(Attached("s2", EMBEDDED, time.time() + 3600, created=True))
    await emit(Output("stdout", "done\n"))
    return {"exit_code": 0}


def test_what_a_user_should_know_stays(configuration: Configuration) -> None:
    """That the sandbox was made anew is still said when the command is over, and Run again is allowed."""
    client = Client(configuration, caller=FakeCaller({"execute_command": _anew}))
    run = RunPanel(client)
    enter(run.command, "true")
    until(lambda: TOLD in run.message.value)
    until(lambda: not run.again_button.disabled)
    until(lambda: "exit 0" in run.status.value)
    run.close()
    client.close()
