"""Panels over a real client: with an imagined worker, or with sandboxes of an embedded server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from ipywidgets.widgets.widget import _instances

from e2b_magic.client import Client
from e2b_magic.config import from_environment
from e2b_magic.embedded import runtime
from e2b_magic.records import ExecutionResult, Status, new_execution_id

DEADLINE = 30.0

T = TypeVar("T")


def until(condition: Callable[[], T], what: str = "it") -> T:
    """Waits until a condition holds, gives what made it hold, and fails when it does not within half a minute."""
    deadline = time.monotonic() + DEADLINE
    while not (met := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)
    return met


def press(button: Any) -> None:
    """Presses a button as the page does."""
    assert not button.disabled
    button._handle_button_msg(button, {"event": "click"}, [])


def enter(field: Any, text: str) -> None:
    """Types a text into a field and presses Enter, as a page tells of it: in this order, on a loop."""

    async def tell() -> None:
        field._handle_custom_msg({"event": "submit"}, [])
        if field.value != text:
            field.set_state({"value": text})
            return
        loop: Any = asyncio.get_running_loop()
        for _ in range(600):
            if not loop._scheduled:  # the field waits for no text any more; it does so longer where the loop is behind
                break
            await asyncio.sleep(0.05)

    asyncio.run(tell())


def fill_history(client: Client, commands: Sequence[str]) -> None:
    """Puts commands that went well into the history, a second apart, the last of them just now."""
    began = time.time() - len(commands)
    for number, command in enumerate(commands):
        at = began + number
        record = ExecutionResult(id=new_execution_id(at), project="default", command=command, started_at=at)
        client.store.save_execution(replace(record, status=Status.SUCCESS))


def widgets_alive() -> set[str]:
    """Gives the ids of the widgets that are not closed."""
    return set(_instances)


def saved_state() -> str:
    """Gives everything that a notebook would keep of all widgets."""
    return repr([widget.get_state() for widget in tuple(_instances.values())])


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Gives the directory of an embedded server that a module's tests share."""
    directory = tmp_path_factory.mktemp("panels") / "e2b-magic"
    yield directory
    runtime.stop(directory / "embedded")


@pytest.fixture(scope="module")
def live(directory: Path) -> Iterator[Client]:
    """Gives a client of that server."""
    client = Client(from_environment({"E2B_MAGIC_DIRECTORY": str(directory)}))
    yield client
    client.close()
