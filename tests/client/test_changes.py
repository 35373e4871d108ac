"""What a client announces, and that a subscriber can neither be forgotten nor do harm."""

from __future__ import annotations

import logging

import pytest

from e2b_magic.client import Client
from e2b_magic.client.changes import CacheCleared, Change, Closed, ExecutionChanged, ProjectChanged, SettingsChanged
from e2b_magic.records import Status


def test_every_change_is_told(client: Client) -> None:
    """A command tells of its beginning, its sandbox and its end, and so does all the rest."""
    told: list[Change] = []
    client.changes.subscribe(told.append)
    client.execute_command("hello")
    statuses = [change.record.status for change in told if isinstance(change, ExecutionChanged)]
    assert statuses == [Status.PENDING, Status.SUCCESS]
    assert ProjectChanged("default") in told
    told.clear()
    client.execute_command("hello")
    (hit,) = told
    assert isinstance(hit, ExecutionChanged)
    assert hit.record.cached
    told.clear()
    client.use_project("other")
    client.clear_cache()
    client.login("e2b_0123")
    client.close()
    assert told == [SettingsChanged(), CacheCleared(), SettingsChanged(), Closed()]


def test_nothing_is_told_after_the_end(client: Client) -> None:
    """A subscriber that has left is not called, and leaving twice is no slip."""
    told: list[Change] = []
    leave = client.changes.subscribe(told.append)
    leave()
    leave()
    client.use_project("other")
    assert told == []
    assert len(client.changes) == 0


def test_a_subscriber_that_fails_does_no_harm(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """The command goes on, the other subscribers are told, and the log has the kind of error without its text."""
    told: list[Change] = []

    def fail(change: Change) -> None:
        raise LookupError("hush")

    client.changes.subscribe(fail)
    client.changes.subscribe(told.append)
    with caplog.at_level(logging.ERROR):
        assert client.execute_command("hello").ok
    assert told
    assert "LookupError" in caplog.text
    assert "hush" not in caplog.text
