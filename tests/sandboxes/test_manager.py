"""The manager's way to its server, over a server that is only imagined."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from e2b_magic.config import EMBEDDED, ApiKey, Configuration
from e2b_magic.embedded.endpoint import Endpoint
from e2b_magic.sandboxes import SandboxManager
from e2b_magic.sandboxes.connection import Connection, connect


async def test_who_asks_at_once_shares_a_connection(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several first requests make one connection, not one each of which the last alone would ever be closed."""
    made: list[Connection] = []

    async def connect(known: Configuration) -> Connection:
        await asyncio.sleep(0.01)
        made.append(Connection(EMBEDDED, ApiKey("e2b_0123"), "localhost", "http://localhost", "http://localhost"))
        return made[-1]

    monkeypatch.setattr("e2b_magic.sandboxes.manager.connect", connect)
    manager = SandboxManager(configuration)
    given = await asyncio.gather(*(manager.connection() for _ in range(3)))
    assert len(made) == 1
    assert all(one is made[0] for one in given)
    await manager.close()


async def test_who_stops_asking_leaves_no_descriptor(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is cancelled while the server starts holds no descriptor of its process."""
    asked, go_on, held = threading.Event(), threading.Event(), list[int]()

    def ensure(directory: Path) -> Endpoint:
        asked.set()
        go_on.wait(30)
        return Endpoint("http://localhost", "e2b_0123", os.getpid())

    monkeypatch.setattr("e2b_magic.embedded.runtime.ensure", ensure)
    monkeypatch.setattr(os, "pidfd_open", held.append)
    connecting = asyncio.create_task(connect(configuration))
    assert await asyncio.to_thread(asked.wait, 30)
    connecting.cancel()
    await asyncio.wait([connecting])
    go_on.set()
    await asyncio.get_running_loop().shutdown_default_executor()  # which waits for its threads
    assert held == []
