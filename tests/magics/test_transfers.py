"""`%e2b put`, `get` and `sync` in a real shell, on a real sandbox."""

from __future__ import annotations

import _thread
import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from e2b_magic import magics
from e2b_magic.client import Client, set_shared_client
from e2b_magic.config import Configuration, from_environment
from e2b_magic.embedded import runtime
from e2b_magic.exceptions import RemoteFileNotFoundError
from e2b_magic.magics.progress import ProgressBar
from tests.magics.conftest import Notebook

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configuration]:
    """Gives the configuration of an embedded server that the module's tests share."""
    directory = tmp_path_factory.mktemp("magics") / "e2b-magic"
    yield from_environment({"E2B_MAGIC_DIRECTORY": str(directory)})
    runtime.stop(directory / "embedded")


@pytest.fixture
def cells(
    shell: InteractiveShell, there: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Notebook]:
    """Gives a notebook over the real sandbox, whose working directory is the test's own."""
    monkeypatch.chdir(tmp_path)
    set_shared_client(Client(there))
    magics.load(shell)
    yield Notebook(shell)
    magics.unload(shell)


def test_a_tree_goes_and_comes_back(cells: Notebook, tmp_path: Path) -> None:
    """`put` says how much went where, `get` brings it back, and patterns hold."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("1")
    (tmp_path / "src" / "a.pyc").write_text("2")
    assert "Put 1 file (1 byte): /home/user/src in" in cells("%e2b put --exclude *.pyc src").stdout
    assert "Got 1 file (1 byte): back in" in cells("%e2b get src back").stdout
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["a.py"]


def test_what_is_left_out_is_named(cells: Notebook, tmp_path: Path) -> None:
    """A pipe cannot be brought, and the cell says so."""
    (tmp_path / "odd").mkdir()
    os.mkfifo(tmp_path / "odd" / "pipe")
    assert "left out: pipe is neither file, directory nor link" in cells("%e2b put odd").stdout


def _said() -> str:
    """Gives what the cell that runs has printed so far, for another thread."""
    told: Any = sys.stdout
    return str(told.getvalue()) if isinstance(told, io.StringIO) else ""


def test_sync_watches_until_it_is_interrupted(cells: Notebook, there: Configuration, tmp_path: Path) -> None:
    """A change made while the cell runs arrives; the interrupt ends the watching and is no error."""
    page = tmp_path / "site" / "index.html"
    page.parent.mkdir()
    page.write_text("one")

    def change() -> None:
        other, end = Client(there), time.monotonic() + 60
        while time.monotonic() < end:
            with suppress(RemoteFileNotFoundError):
                text = other.read_text("site/index.html")
                page.write_text("three")
                if text == "three":
                    break
            time.sleep(0.2)
        other.close()
        while _said().count("Brought 1 file") < 2 and time.monotonic() < end:  # a moment after the file is there
            time.sleep(0.05)
        _thread.interrupt_main()

    thread = threading.Thread(target=change)
    thread.start()
    cell = cells("%e2b sync --watch site")
    thread.join()
    assert cell.error is None
    assert "Stopped watching" in cell.stdout
    assert cell.stdout.count("Brought 1 file") >= 2


def test_slips_are_usage_errors_in_one_line(cells: Notebook) -> None:
    """What is not there is named, without a traceback of ours."""
    assert "There is nothing at missing on this machine" in str(cells("%e2b put missing").error)
    assert "put: the following arguments are required: LOCAL" in str(cells("%e2b put").error)
    assert "missing" in str(cells("%e2b get missing").error)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_appears_in_a_terminal_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long transfer shows a bar with speed and time left, which is wiped off at the end; a short one shows none.

    As long as nobody knows how much there is, the bar is empty and nothing is said of the time left.
    """
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("e2b_magic.magics.progress.PATIENCE", 0.0)
    with ProgressBar("put x") as bar:
        bar(0, 100)
        time.sleep(0.2)
        bar(50_000_000, 100_000_000)
    assert "put x ███████████████░░░░░░░░░░░░░░░ 50 MB of 100 MB" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
    with ProgressBar("put y") as bar:
        time.sleep(0.2)
        bar(50_000_000, 0)
    assert "put y ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░ 50 MB, " in terminal.getvalue()
    terminal.truncate(0)
    monkeypatch.setattr("e2b_magic.magics.progress.PATIENCE", 100.0)
    with ProgressBar("put x") as bar:
        bar(100, 100)
    assert terminal.getvalue().strip("\0") == ""
