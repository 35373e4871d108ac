"""Watches as the daemon holds them: what it believes of an agent's events, and what is left of a watch that ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from e2b_magic.embedded.agent.watching import MOST_WATCHERS
from e2b_magic.embedded.sandbox.channel import Violation
from e2b_magic.embedded.sandbox.sandbox import AgentError, FileEvent, Sandbox
from e2b_magic.embedded.sandbox.watching import parse_events

_EVENT = {"name": "file", "type": "write", "entry": None}


def test_an_honest_event_is_believed() -> None:
    """An event of a known type, with or without an entry, is what it says."""
    assert parse_events([_EVENT]) == [FileEvent("file", "write", None)]
    assert parse_events([]) == []


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        [None],
        [{}],
        [{**_EVENT, "more": 1}],
        [{**_EVENT, "name": 5}],
        [{**_EVENT, "type": "explode"}],
        [{**_EVENT, "type": ["write"]}],
        [{**_EVENT, "entry": {}}],
    ],
)
def test_a_false_event_is_a_violation(told: Any) -> None:
    """Anything that an honest agent would not have told ends the sandbox."""
    with pytest.raises(Violation):
        parse_events(told)


@pytest.mark.sandbox
async def test_who_waits_is_told_of_the_end(sandbox: Sandbox) -> None:
    """A question for events waits until something happens, and ends with the watch or with the sandbox."""
    watch = await sandbox.watch("/tmp", "user", recursive=False, include_entry=False)
    asked = asyncio.ensure_future(watch.events(wait=True))
    await sandbox.make_directory("/tmp/made", "user")
    assert [event.name for event in await asked] == ["made"]
    asked = asyncio.ensure_future(watch.events(wait=True))
    await asyncio.sleep(0)
    await watch.remove()
    with pytest.raises(AgentError) as raised:
        await asked
    assert raised.value.code == "not_found"
    other = await sandbox.watch("/tmp", "user", recursive=False, include_entry=False)
    asked = asyncio.ensure_future(other.events(wait=True))
    await asyncio.sleep(0)
    await sandbox.kill()
    with pytest.raises(AgentError, match="has ended"):
        await asked


@pytest.mark.sandbox
async def test_a_watch_begins_whole_or_not_at_all(sandbox: Sandbox) -> None:
    """A watch whose asker is cancelled leaves nothing behind that would count among the sandbox's watches."""
    for _ in range(MOST_WATCHERS + 1):
        asked = asyncio.ensure_future(sandbox.watch("/usr/share", "user", recursive=True, include_entry=False))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    await (await sandbox.watch("/tmp", "user", recursive=False, include_entry=False)).remove()
