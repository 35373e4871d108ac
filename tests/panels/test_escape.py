"""The one script that a panel brings along, over a client that does no work."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from ipywidgets import HTML
from ipywidgets.widgets.widget import _instances

from e2b_magic.client import Client
from e2b_magic.config import Configuration
from e2b_magic.panels import TABS, Panel
from e2b_magic.panels.escape import escape
from e2b_magic.worker.caller import FakeCaller

HOSTILE = """"><img src=x onerror="window.pwned=1"><style onload='window.pwned=1'></style>"""


@pytest.fixture
def client(configuration: Configuration) -> Iterator[Client]:
    """Gives a client that knows no request."""
    client = Client(configuration, caller=FakeCaller({}))
    yield client
    client.close()


def test_the_only_script_is_a_constant(client: Client) -> None:
    """Whatever a command, a project or an error holds, the one handler in a panel's HTML is the same text for all."""
    before = set(_instances)
    panel = Panel(client)
    for tab in TABS:
        panel.turn_to(tab)
    panel.run.command.value = HOSTILE
    panel.run.run()
    panel.run.message.say(HOSTILE)
    panel.run.executor.wait()
    made = [_instances[one] for one in set(_instances) - before]
    handlers = {one.value for one in made if isinstance(one, HTML) and re.search(r"<[^>]*\son\w+\s*=", one.value)}
    panel.close()
    constant = escape()
    assert handlers == {constant.value}
    constant.close()
