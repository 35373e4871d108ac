"""The one script that a panel brings along, over a client whose work always fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from ipywidgets import HTML
from ipywidgets.widgets.widget import _instances

from e2b_magic.client import Client
from e2b_magic.config import Configuration
from e2b_magic.exceptions import BackendError
from e2b_magic.panels import TABS, Panel
from e2b_magic.panels.escape import escape
from e2b_magic.worker.caller import FakeCaller
from e2b_magic.worker.protocol import Emit

from .conftest import press, until

HOSTILE = """"><img src=x onerror="window.pwned=1"><style onload='window.pwned=1'></style>"""


@pytest.fixture
def client(configuration: Configuration) -> Iterator[Client]:
    """Gives a client whose commands fail with an error that tells what no page should take for its own."""

    async def fail(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        raise BackendError(HOSTILE)

    client = Client(configuration, caller=FakeCaller({"execute_command": fail}))
    yield client
    client.close()


def _handlers(before: set[str]) -> set[str]:
    """Gives the HTML of the widgets made since then that holds an event handler."""
    made = [_instances[one] for one in set(_instances) - before]
    return {one.value for one in made if isinstance(one, HTML) and re.search(r"<[^>]*\son\w+\s*=", one.value)}


def test_the_only_script_is_a_constant(client: Client) -> None:
    """Whatever a command, a project or an error holds, the one handler in a panel's HTML is the same text for all."""
    before = set(_instances)
    panel = Panel(client)
    for tab in TABS:
        panel.turn_to(tab)
    panel.run.command.value = HOSTILE
    panel.run.run()
    until(lambda: "onerror" in panel.run.message.value, "the error")
    history: Any = panel._tab("history")
    until(lambda: history.rows._list.children)
    press(history.rows._list.children[0])
    constant = escape()
    assert _handlers(before) == {constant.value}
    panel.run.message.say(HOSTILE)
    assert _handlers(before) == {constant.value}
    panel.close()
    constant.close()
