"""The command line: what each command prints, and its exit code."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2b_magic.cli import main
from e2b_magic.embedded import foreground, runtime
from e2b_magic.embedded.foreground import wait_for


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
    script = 'eval "$("$PYTHON" -m e2b_magic.cli serve --detach)" && "$PYTHON" -c "$PROGRAM"'
    environment = {**os.environ, "PYTHON": sys.executable, "PROGRAM": program}
    told = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True, env=environment)
    assert told.stdout.strip() == "inside"


@pytest.mark.sandbox
def test_the_server_is_told_of_and_ended(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`status` tells whether there is a server, by its exit code too, and `stop` ends it."""
    assert main(["status"]) == 1
    assert "not running" in capsys.readouterr().out
    assert main(["serve", "--detach"]) == 0
    assert f"export E2B_API_URL={runtime.ensure(directory).url}\n" in capsys.readouterr().out
    assert main(["status"]) == 0
    assert "0 sandboxes" in capsys.readouterr().out
    assert main(["stop"]) == 0
    assert "has ended" in capsys.readouterr().out
    assert main(["stop"]) == 0
    assert "was not running" in capsys.readouterr().out


@contextmanager
def _serving(*options: str) -> Iterator[subprocess.Popen[str]]:
    """Gives a `serve` that has printed its variables, and serves on."""
    command = [sys.executable, "-m", "e2b_magic.cli", "serve", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        names = [serving.stdout.readline().split("=")[0] for _ in range(4)]
        assert names == ["export E2B_API_URL", "export E2B_SANDBOX_URL", "export E2B_API_KEY", "export NO_PROXY"]
        assert serving.stderr is not None
        assert "Serving at http://127.0.0.1:" in serving.stderr.readline()
        try:
            yield serving
        finally:
            serving.kill()


def _ended(serving: subprocess.Popen[str]) -> tuple[int, str]:
    """Gives the exit code of a `serve` and the last that it said."""
    _, said = serving.communicate(timeout=30)
    return serving.returncode, said


@pytest.mark.sandbox
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_serve_serves_until_it_is_told(directory: Path, number: signal.Signals) -> None:
    """Ctrl-C, `kill` and a closed terminal end it, and the server with it."""
    with _serving() as serving:
        assert runtime.status(directory) is not None
        serving.send_signal(number)
        assert _ended(serving) == (0, "")
    assert runtime.status(directory) is None


@pytest.mark.sandbox
def test_serve_ends_no_server_that_was_there_before(directory: Path) -> None:
    """Ctrl-C leaves a server running that others started; and whoever waits is told when that ends, and how."""
    assert main(["serve", "--detach"]) == 0
    with _serving() as first, _serving() as second:
        first.send_signal(signal.SIGINT)
        assert _ended(first) == (0, "")
        assert runtime.status(directory) is not None
        assert main(["stop"]) == 0
        assert _ended(second) == (0, "The embedded server has ended.\n")
    with _serving() as serving:
        os.kill(runtime.ensure(directory).pid, signal.SIGKILL)
        assert _ended(serving) == (1, "The embedded server was killed.\n")


@pytest.mark.sandbox
def test_serve_keeps_its_server_from_ending(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is waited for is asked about itself before it would end, unless an idle time was asked for."""
    endpoint = runtime.ensure(directory, idle_timeout=0.6)
    monkeypatch.setattr(foreground, "_PERIOD", 0.1)
    hanging_up = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGHUP))
    hanging_up.start()
    try:
        assert wait_for(directory, endpoint, keep=True)
    finally:
        hanging_up.cancel()  # else it would end the tests where the wait was over before
    assert not wait_for(directory, endpoint, keep=False)


def _buffering(**more: str) -> dict[str, str]:
    """Gives an environment in which a program's output is buffered, as it is unless somebody asks for another thing."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**kept, **more}


@pytest.mark.sandbox
def test_whoever_reads_may_leave(directory: Path) -> None:
    """A reader that takes one line and leaves causes no traceback."""
    script = '"$PYTHON" -m e2b_magic.cli serve --detach 2>&1 >&3 | cat'
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as gone:
        gone.wait()
        assert gone.stdin is not None
        told = subprocess.run(
            ["bash", "-c", f"exec 3>&{gone.stdin.fileno()}; {script}"],
            check=True,
            capture_output=True,
            text=True,
            env=_buffering(PYTHON=sys.executable),
            pass_fds=[gone.stdin.fileno()],
        )
    assert told.stdout == ""


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_an_output_that_nobody_takes_is_told_of(directory: Path) -> None:
    """Where what is to be printed cannot be, that is said in a line; where there is no output at all, nothing is."""
    command = f"{shlex.quote(sys.executable)} -m e2b_magic.cli status"
    full, closed = (
        subprocess.run(
            ["bash", "-c", f"{command} {where}"], check=False, capture_output=True, text=True, env=_buffering()
        )
        for where in (">/dev/full", ">&-")
    )
    assert (full.returncode, full.stderr) == (1, "e2b-magic: [Errno 28] No space left on device\n")
    assert (closed.returncode, closed.stderr) == (1, "")


@pytest.mark.usefixtures("directory")
def test_a_time_is_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    """A time that is none, or no time to wait, is a usage error which says what would be right."""
    for text in ("abc", "nan", "-1"):
        with pytest.raises(SystemExit):
            main(["serve", "--idle-timeout", text])
        assert f"{text} is no number of seconds above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "commands"),
    [("x" * 300, ["serve", "status", "stop", "doctor"]), ("file/below", ["serve", "doctor"]), ("/proc/x", ["serve"])],
)
def test_a_directory_that_cannot_be_used_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    commands: list[str],
) -> None:
    """A directory that cannot be made or read is told of in a line that names it, and the setting to change."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("E2B_MAGIC_DIRECTORY", str(tmp_path / place))
    for command in commands:
        assert main([command]) == 1
        told = capsys.readouterr()
        assert f"{tmp_path / place}/embedded (" in told.out + told.err
        assert "E2B_MAGIC_DIRECTORY" in told.out + told.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_the_doctor_makes_nothing_in_anothers_directory(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory that no server would trust is a finding, and is left as it is."""
    directory.mkdir()
    os.chown(directory, 65534, 65534)
    assert main(["doctor"]) == 1
    assert "must belong to you" in capsys.readouterr().out
    assert list(directory.iterdir()) == []
    os.chown(directory, 0, 0)


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Anything else is answered with the usage."""
    with pytest.raises(SystemExit) as caught:
        main(["dance"])
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err
