"""The manager's way to its server, over a server that is only imagined."""

from __future__ import annotations

import asyncio

import pytest

from e2b_magic.config import EMBEDDED, ApiKey, Configuration
from e2b_magic.sandboxes import SandboxManager
from e2b_magic.sandboxes.connection import Connection


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
