"""What all panels share: work that brings a view up to date, over a client without sandboxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.config import Configuration
from e2b_magic.exceptions import BackendError
from e2b_magic.panels.view import Refresh, View
from e2b_magic.worker.caller import FakeCaller

from .conftest import until


@pytest.fixture
def view(configuration: Configuration) -> Iterator[View]:
    """Gives a view that shows nothing but its message line."""
    client = Client(configuration, caller=FakeCaller({}))
    view = View(client)
    yield view
    view.close()
    client.close()


def _failing_once(done: list[str], asked: Sequence[Refresh] = ()) -> Callable[[], Any]:
    async def work() -> None:
        done.append("work")
        if len(done) == 1:
            for refresh in asked:
                refresh.ask()
            raise BackendError("the first time")

    return work


def test_what_is_asked_for_while_work_fails_is_done(view: View) -> None:
    """The work is done once more, and a failure that is out of date is not told."""
    done, asked = list[str](), list[Refresh]()
    refresh = Refresh(view, _failing_once(done, asked))
    asked.append(refresh)
    refresh.ask()
    until(lambda: len(done) == 2 and not view._tasks)
    assert view.message.value == ""


def test_what_is_asked_for_while_a_failure_is_told_is_done(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that has failed, and has only that left to say, does not take an ask for its own."""
    done, told = list[str](), list[str]()
    refresh = Refresh(view, _failing_once(done))

    def fail(error: Exception) -> None:
        told.append(str(error))
        refresh.ask()

    monkeypatch.setattr(view.message, "fail", fail)
    refresh.ask()
    until(lambda: len(done) == 2 and not view._tasks)
    assert told == ["the first time"]
