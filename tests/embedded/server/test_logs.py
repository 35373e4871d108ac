"""The log of a sandbox: what it tells, in E2B's two shapes, and what never stands in it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from e2b import CommandExitException, Sandbox

pytestmark = pytest.mark.sandbox


def _entries(control: httpx.Client, sandbox: Sandbox, **query: Any) -> list[dict[str, Any]]:
    answer = control.get(f"/v2/sandboxes/{sandbox.sandbox_id}/logs", params=query)
    assert answer.status_code == 200
    return list(answer.json()["logs"])


def test_it_tells_what_happened(control: httpx.Client, own_sandbox: Sandbox) -> None:
    """Start, processes, pause and resumption are there in order, with times and fields; no command is."""
    with pytest.raises(CommandExitException):
        own_sandbox.commands.run("echo canary; exit 3", envs={"KEY": "canary"})
    own_sandbox.pause()
    own_sandbox.connect()
    entries = _entries(control, own_sandbox)
    events = [entry["fields"]["event"] for entry in entries]
    assert events == ["start", "process_start", "process_end", "pause", "start"]
    assert entries[2]["fields"]["status"] == "exit status 3"
    assert entries[1]["fields"]["pid"] == entries[2]["fields"]["pid"]
    assert [entry["timestamp"] for entry in entries] == sorted(entry["timestamp"] for entry in entries)
    assert {entry["level"] for entry in entries} == {"info"}
    assert "canary" not in str(entries)


def test_it_can_be_asked_for_in_parts(control: httpx.Client, own_sandbox: Sandbox) -> None:
    """Direction, limit, level, search and cursor choose what is told."""
    own_sandbox.commands.run("true")
    own_sandbox.commands.run("true")
    everything = _entries(control, own_sandbox)
    assert len(everything) == 5
    assert _entries(control, own_sandbox, limit=2) == everything[:2]
    assert _entries(control, own_sandbox, direction="backward", limit=2) == everything[::-1][:2]
    assert _entries(control, own_sandbox, search="ended") == [everything[2], everything[4]]
    assert _entries(control, own_sandbox, level="warn") == []
    assert _entries(control, own_sandbox, cursor=2**50) == []
    assert _entries(control, own_sandbox, cursor=0) == everything
    first = control.get(f"/sandboxes/{own_sandbox.sandbox_id}/logs", params={"limit": 2}).json()
    assert first["logEntries"] == everything[:2]
    assert [line["timestamp"] for line in first["logs"]] == [entry["timestamp"] for entry in everything[:2]]


@pytest.mark.parametrize("query", ["limit=x", "cursor=-1", "direction=up", "level=loud", "search=" + "x" * 257])
def test_a_wrong_query_is_refused(control: httpx.Client, own_sandbox: Sandbox, query: str) -> None:
    """Each parameter is checked, and the answer names it."""
    answer = control.get(f"/v2/sandboxes/{own_sandbox.sandbox_id}/logs?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["message"]
