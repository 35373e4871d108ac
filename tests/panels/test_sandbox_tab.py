"""The Sandbox tab over a worker whose sandbox can do everything at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.config import EMBEDDED, Configuration
from e2b_magic.panels import SandboxPanel
from e2b_magic.worker.caller import FakeCaller
from e2b_magic.worker.protocol import Emit

from .conftest import enter, press, until


class Sandbox:
    """A sandbox's state, changed by the requests of the tab's buttons."""

    def __init__(self) -> None:
        self.state = "running"
        self.expires_at = time.time() + 600
        self.asked: list[dict[str, Any]] = []

    async def tell(self, payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """Answers with the state that the request leads to."""
        self.asked.append(payload)
        after = {"pause_sandbox": "paused", "resume_sandbox": "running", "fork_sandbox": self.state}
        if payload["type"] != "fork_sandbox":
            self.state = after.get(payload["type"], self.state)
        project = payload.get("to") or payload["project_id"]
        if "seconds" in payload:  # a look moves no end, which would be news and have it looked at again
            self.expires_at = time.time() + payload["seconds"]
        return {
            "project": project,
            "backend": EMBEDDED,
            "state": self.state,
            "sandbox_id": "s1",
            "expires_at": self.expires_at,
            "cpu_count": 2,
            "memory_mb": 512,
        }

    async def keep(self, payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """Answers `snapshot_sandbox`."""
        self.asked.append(payload)
        return {"snapshot_id": f"snapshot-{payload['name']}"}

    async def measure(self, payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """Answers `sandbox_metrics`."""
        use = {"cpu_used_pct": 50.0, "memory_used": 100, "memory_total": 200, "disk_used": 1, "disk_total": 4}
        return {"metrics": [{"timestamp": time.time(), "cpu_count": 2, **use}]}


@pytest.fixture
def sandbox() -> Sandbox:
    """Gives the imagined sandbox."""
    return Sandbox()


@pytest.fixture
def panel(configuration: Configuration, sandbox: Sandbox) -> Iterator[SandboxPanel]:
    """Gives the tab over it."""
    states = ("sandbox_status", "pause_sandbox", "resume_sandbox", "extend_sandbox", "fork_sandbox")
    answers = dict.fromkeys(states, sandbox.tell)
    caller = FakeCaller({**answers, "snapshot_sandbox": sandbox.keep, "sandbox_metrics": sandbox.measure})
    client = Client(configuration, caller=caller)
    panel = SandboxPanel(client)
    until(lambda: not panel.pause_button.disabled)
    yield panel
    panel.close()
    client.close()


def test_it_rests_and_wakes(panel: SandboxPanel) -> None:
    """Pause and Resume change what is shown and which buttons may be pressed."""
    press(panel.pause_button)
    until(lambda: "paused, its files kept" in panel.facts.value)
    until(lambda: panel.pause_button.disabled)
    until(lambda: panel.left.value == "")
    press(panel.resume_button)
    until(lambda: not panel.pause_button.disabled)
    until(lambda: "ends in" in panel.left.value)
    assert panel.resume_button.disabled


def test_it_is_kept_and_copied(panel: SandboxPanel, sandbox: Sandbox) -> None:
    """Extend asks for the time that is chosen; Snapshot and Fork ask for a name first and say what was made."""
    panel.span.value = 14400.0
    press(panel.extend_button)
    until(lambda: any(asked.get("seconds") == 14400.0 for asked in sandbox.asked))
    press(panel.snapshot_button)
    enter(panel.ask.answer, "kept")
    until(lambda: "Took snapshot snapshot-kept" in panel.message.value)
    press(panel.fork_button)
    assert panel.ask.answer.value == "default-copy"
    press(panel.ask.yes)
    until(lambda: "Project default-copy has a copy" in panel.message.value)


@pytest.mark.parametrize("verb", ["snapshot", "fork"])
def test_a_question_is_about_the_project_that_it_was_asked_of(panel: SandboxPanel, sandbox: Sandbox, verb: str) -> None:
    """Another project that is turned to before a question is answered is neither kept nor copied."""
    press(getattr(panel, f"{verb}_button"))
    panel.client.use_project("another")
    press(panel.ask.yes)
    until(lambda: any(asked["type"] == f"{verb}_sandbox" for asked in sandbox.asked))
    (asked,) = [asked for asked in sandbox.asked if asked["type"] == f"{verb}_sandbox"]
    assert asked["project_id"] == "default"


def test_its_use_is_drawn(panel: SandboxPanel) -> None:
    """Processor, memory and disk are each a plot with its newest figure in words."""
    until(lambda: panel.usage.value.count("<svg") == 3)
    assert "CPU: 50 %" in panel.usage.value
    assert "Memory: 100 bytes of 200 bytes" in panel.usage.value
    until(lambda: panel._refresh._task is None)  # what was asked before would find nobody looking, and stop too
    panel.looked_at(False)
    until(lambda: panel.usage._ticker._task is None or panel.usage._ticker._task.done())
