"""`%e2b panel`."""

from __future__ import annotations

import logging

import pytest
from IPython.core.interactiveshell import InteractiveShell

from e2b_magic.client import shared_client
from e2b_magic.client.changes import ProjectChanged
from tests.interrupting import finalizers_pass_over_it, interrupted
from tests.magics.conftest import Notebook


@finalizers_pass_over_it
def test_an_interrupted_panel_is_told_of_no_change(
    notebook: Notebook, shell: InteractiveShell, caplog: pytest.LogCaptureFixture
) -> None:
    """A Ctrl-C while a panel is made leaves none that is half made, and complains at every later change."""
    notebook("%e2b panel").value.close()
    came = True
    for step in range(0, 100_000, 2503):
        came = interrupted(step, lambda: shell.run_line_magic("e2b", "panel")) is not None
        shared_client().changes.announce(ProjectChanged("default"))
        if not came:
            break
    assert step > 5000
    assert not came
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []
