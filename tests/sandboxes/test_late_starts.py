"""What is started by a call whose answer comes when its caller has left."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine, Iterator
from typing import Any

import psutil
import pytest

from e2b_magic.client import Client
from e2b_magic.config import Configuration
from e2b_magic.embedded import runtime
from e2b_magic.embedded.endpoint import read_endpoint
from e2b_magic.exceptions import SandboxUnreachableError
from e2b_magic.sandboxes import commands, jobs

pytestmark = pytest.mark.sandbox


@pytest.fixture
def client(configuration: Configuration) -> Iterator[Client]:
    """Gives a client whose worker is in this process, with a server of its own."""
    client = Client(configuration)
    client.execute_command("true")
    yield client
    client.close()
    runtime.stop(configuration.directory / "embedded")


@pytest.fixture
def server(client: Client, configuration: Configuration) -> Iterator[psutil.Process]:
    """Gives the client's server, which goes on at the end if it was stopped."""
    endpoint = read_endpoint(configuration.directory / "embedded")
    assert endpoint is not None
    server = psutil.Process(endpoint.pid)
    yield server
    server.resume()


async def _until_alone(client: Client) -> bool:
    count = "grep -la '[l]ate sleep' /proc/[0-9]*/cmdline | wc -l"
    for _ in range(100):
        if (await client.aexecute_command(count, use_cache=False)).stdout == "0\n":
            return True
        await asyncio.sleep(0.1)
    return False


@pytest.mark.parametrize("kind", ["command", "job"])
async def test_what_starts_late_is_ended(
    client: Client, server: psutil.Process, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A start that the server answers when its caller was cancelled long ago leaves no process, and no lost error."""
    for module in (commands, jobs):
        monkeypatch.setattr(module, "ENDING", 0.3)
    script = "exec -a late sleep 321"
    start: Coroutine[Any, Any, object]
    start = client.aexecute_command(script) if kind == "command" else client.astart_background(script)
    server.suspend()
    starting = asyncio.create_task(start)
    await asyncio.sleep(0.3)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    server.resume()
    await asyncio.sleep(0.5)  # in which it starts
    assert await _until_alone(client)
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def test_a_start_that_is_not_answered_is_given_up(
    client: Client, server: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox that does not start a command is waited for so long and no longer; what it starts late is ended."""
    monkeypatch.setattr(commands, "STARTING", 0.3)
    monkeypatch.setattr(commands, "ENDING", 0.3)
    server.suspend()
    with pytest.raises(SandboxUnreachableError, match=r"did not start the command within 0\.3 s"):
        await asyncio.wait_for(client.aexecute_command("exec -a late sleep 321"), 30)
    server.resume()
    await asyncio.sleep(0.5)  # in which it starts
    assert await _until_alone(client)
