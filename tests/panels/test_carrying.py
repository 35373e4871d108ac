"""Transfers of the Files tab: how far they are is seen, they can be cancelled, and leave nothing half done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.panels import FilesPanel
from e2b_magic.panels.carrying import UPLOAD_LIMIT
from e2b_magic.quantities import size

from .conftest import press, until, widgets_alive

pytestmark = pytest.mark.sandbox

LARGE = 300_000_000
"""Bytes that take a second or so, whatever the machine: dozens of pieces."""


@pytest.fixture
def files(live: Client) -> Iterator[FilesPanel]:
    """Gives a Files tab over a sandbox that runs."""
    live.execute_command("true", use_cache=False)
    panel = FilesPanel(live)
    until(lambda: panel._tree.opened)
    yield panel
    panel.close()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Gives a large file of this machine, which takes no room on the disk."""
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(LARGE)
    return path


def _under_way(files: FilesPanel) -> Any:
    until(lambda: files.transfers.children, "a transfer's row")
    transfer = files.transfers.children[0]
    until(lambda: "<progress" in transfer._share.value, "its progress")
    return transfer


def _told(files: FilesPanel, text: str) -> bool:
    return text in files.message.value


def _in_sandbox(client: Client) -> str:
    """Gives the large files of the sandbox, whole or in part."""
    return client.execute_command("find /home/user /tmp -size +100k", use_cache=False).stdout


def test_bringing_is_cancelled(files: FilesPanel, large: Path) -> None:
    """Cancel ends an upload by path: the row goes, that is said, and no part of the file is in the sandbox."""
    before = widgets_alive()
    files._ask_to_bring()
    files.ask.answer.value = str(large)
    press(files.ask.yes)
    transfer = _under_way(files)
    assert f"of {size(LARGE)}" in transfer._share.value
    press(transfer.cancel_button)
    until(lambda: "Cancelled: Bringing" in files.message.value, files.message.value)
    until(lambda: files.transfers.children == (), "the end of the row")
    assert _in_sandbox(files.client) == ""
    until(lambda: widgets_alive() <= before, "the end of its widgets")


def test_saving_is_cancelled(files: FilesPanel, tmp_path: Path) -> None:
    """Cancel ends a download by path: what stood at the destination still does, and nothing lies beside it."""
    files.client.execute_command(f"truncate -s {LARGE} big.bin", use_cache=False)
    until(lambda: any(branch.entry.name == "big.bin" for branch in files._tree.rows()))
    there = tmp_path / "there"
    there.mkdir()
    (there / "big.bin").write_text("the old one")
    files._choose(next(branch.entry for branch in files._tree.rows() if branch.entry.name == "big.bin"))
    files._ask_to_save()
    files.ask.answer.value = str(there)
    press(files.ask.yes)
    press(_under_way(files).cancel_button)
    until(lambda: "Cancelled: Saving" in files.message.value, files.message.value)
    assert [path.name for path in there.iterdir()] == ["big.bin"]
    assert (there / "big.bin").read_text() == "the old one"
    files.client.remove_file("big.bin")


def test_a_closed_panel_ends_its_transfers(live: Client, large: Path) -> None:
    """To close the panel ends what it carries, and leaves neither a thread nor a part of the file."""
    panel = FilesPanel(live)
    panel._ask_to_bring()
    panel.ask.answer.value = str(large)
    press(panel.ask.yes)
    _under_way(panel)
    panel.close()
    until(lambda: not any(thread.name == "e2b-magic-panel" for thread in threading.enumerate()), "the thread's end")
    assert _in_sandbox(live) == ""


def test_an_upload_is_all_or_nothing(files: FilesPanel) -> None:
    """A file that is too large, or named so that it cannot be, is told before any file is written."""
    good = {"name": "good.txt", "type": "", "size": 3, "last_modified": 0, "content": memoryview(b"abc")}
    for bad, told in (({"size": UPLOAD_LIMIT + 1}, "a browser may send"), ({"name": ".."}, "cannot name a file")):
        files.message.clear()
        files.upload.set_state({"value": [good, {**good, "name": "bad.txt", **bad}]})
        until(partial(_told, files, told), told)
        assert not any(entry.name == "good.txt" for entry in files.client.list_files())
