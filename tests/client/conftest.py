"""A client whose worker is a fake with a sandbox of its own imagination, over a real store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.config import EMBEDDED, Configuration
from e2b_magic.worker.caller import FakeCaller
from e2b_magic.worker.protocol import Attached, Emit, Output


async def echo(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Attaches to sandbox `s1` and prints the command; a command `exit N` exits with N."""
    await emit(Attached("s1", EMBEDDED, time.time() + 3600, created=True))
    await emit(Output("stdout", f"{payload['command']}\n"))
    words = payload["command"].split()
    code = int(words[1]) if words[0] == "exit" else 0
    return {"exit_code": code, "stdout": "", "stderr": "", "truncated": False}


@pytest.fixture
def caller() -> FakeCaller:
    """Gives a caller that echoes commands."""
    return FakeCaller({"execute_command": echo})


@pytest.fixture
def client(configuration: Configuration, caller: FakeCaller) -> Iterator[Client]:
    """Gives a client over that caller."""
    client = Client(configuration, caller=caller)
    yield client
    client.close()
