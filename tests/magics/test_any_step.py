"""A Ctrl-C at one step after the other of a command, over an imagined sandbox: what it leaves behind."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from e2b_magic.client import shared_client
from e2b_magic.client.changes import ProjectChanged
from e2b_magic.worker.caller import FakeCaller
from e2b_magic.worker.protocol import Emit
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


class Uploads:
    """Answers as a worker would to uploads, and remembers which are open."""

    def __init__(self) -> None:
        self.open: set[str] = set()

    async def opened(self, payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """Answers `open_upload`."""
        self.open.add(payload["transfer"])
        return {}

    async def sent(self, payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """Answers `send_piece`."""
        return {}

    async def closed(self, payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """Answers `close_transfer`, to discard it too."""
        self.open.discard(payload["transfer"])
        return {"path": "/home/user/file"}


@finalizers_pass_over_it
@pytest.mark.usefixtures("notebook")
def test_an_interrupted_upload_is_discarded(shell: InteractiveShell, caller: FakeCaller, tmp_path: Path) -> None:
    """A Ctrl-C between the steps of a context leaves nothing open in the sandbox, though its traceback is kept."""
    uploads = Uploads()
    caller.answers |= {"open_upload": uploads.opened, "send_piece": uploads.sent, "close_transfer": uploads.closed}
    file = tmp_path / "file"
    file.write_bytes(b"x")
    entering, leaving = (
        ("c_return", "_GeneratorContextManager.__enter__"),
        ("call", "_GeneratorContextManager.__exit__"),
    )
    shell.run_line_magic("e2b", f"put {file} file")  # what is done but once is done
    for step in range(100):
        came = interrupted(step, lambda: shell.run_line_magic("e2b", f"put {file} file"), {entering, leaving})
        assert not uploads.open, f"at step {step}"
        if came is None:
            break
    assert 5 < step < 99
