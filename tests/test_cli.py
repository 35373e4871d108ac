"""The command line: what each command prints, and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2b_magic.cli import main
from e2b_magic.embedded import runtime


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Gives the directory that the commands work in; a server in it is stopped afterwards."""
    monkeypatch.setenv("E2B_MAGIC_DIRECTORY", str(tmp_path))
    # Settings for another E2B, half of them missing, must not keep the commands from their own server.
    monkeypatch.setenv("E2B_API_URL", "https://e2b.example")
    yield tmp_path / "embedded"
    runtime.stop(tmp_path / "embedded")


@pytest.mark.sandbox
def test_what_serve_prints_makes_the_sdk_use_the_server(directory: Path) -> None:
    """A shell that evaluates the output of `serve` has all that the bare SDK needs."""
    program = "from e2b import Sandbox; s = Sandbox.create(); print(s.commands.run('echo inside').stdout); s.kill()"
    script = 'eval "$("$PYTHON" -m e2b_magic.cli serve)" && "$PYTHON" -c "$PROGRAM"'
    environment = {**os.environ, "PYTHON": sys.executable, "PROGRAM": program}
    told = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True, env=environment)
    assert told.stdout.strip() == "inside"


@pytest.mark.sandbox
def test_the_server_is_told_of_and_ended(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`status` tells whether there is a server, by its exit code too, and `stop` ends it."""
    assert main(["status"]) == 1
    assert "not running" in capsys.readouterr().out
    assert main(["serve"]) == 0
    assert f"export E2B_API_URL={runtime.ensure(directory).url}\n" in capsys.readouterr().out
    assert main(["status"]) == 0
    assert "0 sandboxes" in capsys.readouterr().out
    assert main(["stop"]) == 0
    assert "has ended" in capsys.readouterr().out
    assert main(["stop"]) == 0
    assert "was not running" in capsys.readouterr().out


@pytest.mark.sandbox
def test_the_doctor_tells_what_holds(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`doctor` really starts a sandbox, says what contains it, and leaves nothing behind."""
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "bubblewrap" in told
    assert "system calls" in told
    assert list((directory / "sandboxes").iterdir()) == []


def test_a_failure_is_one_line_and_a_code(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be done is told on the error output without a traceback."""
    monkeypatch.setattr(sys, "platform", "win32")
    assert main(["serve"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("e2b-magic: ")
    assert "Traceback" not in told.err


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Anything else is answered with the usage."""
    with pytest.raises(SystemExit) as caught:
        main(["dance"])
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err
