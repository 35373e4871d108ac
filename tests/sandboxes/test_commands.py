"""Commands and files in a real sandbox: what ends with an interrupt or a timeout, and each slip's one line.

All of it twice: with the worker in this process, and with the worker behind a real Jupyter server.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.config import from_environment
from e2b_magic.embedded import runtime
from e2b_magic.exceptions import (
    CommandTimeoutError,
    FileError,
    FileTooLargeError,
    InvalidRequestError,
    RemoteFileNotFoundError,
    RemotePathError,
)
from e2b_magic.records import Status
from e2b_magic.worker.protocol import Event, Output

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module", params=["in-process", "http"])
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, start_jupyter: Callable[[], Any]
) -> Iterator[Client]:
    """Gives a client on an embedded server that the module's tests share."""
    directory = tmp_path_factory.mktemp("commands") / "e2b-magic"
    here = from_environment({"E2B_MAGIC_DIRECTORY": str(directory)})
    client = Client(here if request.param == "in-process" else start_jupyter().configuration(directory))
    yield client
    client.close()
    runtime.stop(directory / "embedded")


def _alive(client: Client, mark: str) -> int:
    """Counts the sandbox's processes whose command line holds a mark."""
    # In brackets, the first letter keeps the pattern from finding those who look for it.
    script = f"grep -la '[{mark[0]}]{mark[1:]}' /proc/[0-9]*/cmdline | wc -l"
    return int(client.execute_command(script, use_cache=False).stdout)


def test_both_streams_are_told_apart(client: Client) -> None:
    """Standard output and standard error arrive apart, and as they are written."""
    seen: list[Event] = []
    result = client.execute_command("echo out; echo err >&2; exit 4", on_event=seen.append)
    assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 4)
    assert Output("stdout", "out\n") in seen
    assert Output("stderr", "err\n") in seen


def test_the_command_reaches_the_shell_unharmed(client: Client) -> None:
    """Quotes, pipes, substitutions and braces mean what they mean to bash."""
    result = client.execute_command("""printf '%s|' "a  b" '$HOME' $(echo c) {d,e} "ü€" | tr '|' '\\n'""")
    assert result.stdout.splitlines() == ["a  b", "$HOME", "c", "d", "e", "ü€"]


def test_options_reach_the_command(client: Client) -> None:
    """Directory, variables and user are those that were asked for."""
    result = client.execute_command("pwd; echo $GREETING; echo ~", cwd="/tmp", envs={"GREETING": "hi $x"}, user="root")
    assert result.stdout.splitlines() == ["/tmp", "hi $x", "/root"]


def test_an_unknown_user_is_named(client: Client) -> None:
    """A user that the sandbox does not have is the caller's slip, and no doubt is cast on the key."""
    with pytest.raises(InvalidRequestError, match="invalid username: 'nobody-here'"):
        client.execute_command("true", user="nobody-here")
    with pytest.raises(InvalidRequestError, match="nobody-here"):
        client.read_file("x", user="nobody-here")


def test_an_interrupt_ends_the_whole_tree(client: Client) -> None:
    """After Ctrl-C nothing that the command had started is left, not even what ignores SIGINT or left its parent."""
    script = (
        "(trap '' INT TERM; exec -a left-1 sleep 321) & (setsid bash -c 'exec -a left-2 sleep 321' &)\n"
        "trap 'echo bye; exit 0' INT; echo begun; while true; do sleep 0.05; done"
    )

    def interrupt(event: Event) -> None:
        if event == Output("stdout", "begun\n"):
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        client.execute_command(script, on_event=interrupt)
    assert time.monotonic() - began < 30
    (record,) = client.get_execution_history(status=Status.INTERRUPTED, limit=1)
    assert record.stdout == "begun\nbye\n"
    assert _alive(client, "left-1") == 0


def test_a_timeout_ends_the_whole_tree(client: Client) -> None:
    """A command that runs out of time is ended with its children, and what it wrote is kept."""
    with pytest.raises(CommandTimeoutError, match=r"longer than 0\.5 s") as caught:
        client.execute_command("echo begun; (exec -a late sleep 321) & wait", timeout=0.5)
    assert caught.value.result is not None
    assert (caught.value.result.status, caught.value.result.stdout) == (Status.TIMEOUT, "begun\n")
    assert _alive(client, "late") == 0


async def test_cancelling_before_the_start_leaves_nothing(client: Client) -> None:
    """A command that is cancelled at any early moment is not left running."""
    for delay in (0, 0.001, 0.003, 0.006, 0.01, 0.02):
        task = asyncio.create_task(client.aexecute_command(f"exec -a early sleep 321 # {delay}"))
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert _alive(client, "early") == 0


def test_long_output_is_bounded(client: Client) -> None:
    """Of a long output the ends are kept and the middle is marked as missing."""
    result = client.execute_command("seq 3000000", use_cache=False)
    assert result.truncated
    assert result.stdout.startswith("1\n2\n")
    assert result.stdout.endswith("2999999\n3000000\n")
    assert "characters left out" in result.stdout


def test_a_split_character_is_put_together(client: Client) -> None:
    """A character written in two halves arrives whole, and an invalid byte as U+FFFD."""
    result = client.execute_command(r"printf '\xe2\x82'; sleep 0.1; printf '\xac\xff'")
    assert result.stdout == "€\ufffd"


def test_files_go_there_and_back(client: Client) -> None:
    """Text and any bytes survive; parents are made; append and mode do what they say."""
    content = os.urandom(100_000)
    assert client.write_file("deep/er/data.bin", content).path == "/home/user/deep/er/data.bin"
    assert client.read_file("deep/er/data.bin") == content
    client.write_file("~/note.txt", "a {b} ü\n")
    client.write_file("~/note.txt", "more\n", append=True, mode=0o700)
    assert client.read_text("note.txt") == "a {b} ü\nmore\n"
    assert client.execute_command("stat -c %a note.txt", use_cache=False).stdout == "700\n"
    assert [entry.name for entry in client.list_files("deep")] == ["er"]
    assert client.remove_file("deep", recursive=True).type == "dir"
    assert client.execute_command("ls -A /tmp", use_cache=False).stdout == ""


def test_appending_makes_the_directories_above(client: Client) -> None:
    """Adding to a file that is not there makes it, and the directories above it, as writing does."""
    client.write_file("fresh/deep/log", "1\n", append=True)
    client.write_file("-m.txt", "x", mode=0o600)
    client.write_file("-m.txt", "y", append=True)
    assert (client.read_text("fresh/deep/log"), client.read_text("-m.txt")) == ("1\n", "xy")
    with pytest.raises(FileError, match=r"^/proc/x/y: .*$"):
        client.write_file("/proc/x/y", "1", append=True)


@pytest.mark.parametrize("name", ["it's; rm -rf ~", "-rf", "$(touch x)", "ü ☃", 'a"b', "a\nb"])
def test_a_path_is_never_read_as_shell(client: Client, name: str) -> None:
    """Appending to and setting the mode of a file with a hostile name touches that file alone."""
    path = f"odd/{name}"
    client.write_file(path, "1", mode=0o600)
    client.write_file(path, "2", append=True)
    assert client.read_text(path) == "12"
    assert [entry.name for entry in client.list_files("odd")] == [name]
    client.remove_file("odd", recursive=True)


def test_file_slips_are_named(client: Client) -> None:
    """A missing file, a directory taken for a file and the reverse, a binary and a huge file: one line each."""
    client.write_file("folder/file", b"\xff\x00")
    with pytest.raises(RemoteFileNotFoundError, match="nothing"):
        client.read_file("nothing")
    with pytest.raises(RemotePathError, match="folder is a directory"):
        client.read_file("folder")
    with pytest.raises(RemotePathError, match="folder is a directory"):
        client.write_file("folder", "x")
    with pytest.raises(RemotePathError, match="folder/file is a file"):
        client.list_files("folder/file")
    with pytest.raises(RemotePathError, match="is a directory"):
        client.remove_file("folder")
    with pytest.raises(RemotePathError, match="not UTF-8 text"):
        client.read_text("folder/file")
    client.execute_command("truncate -s 300M huge", use_cache=False)
    with pytest.raises(FileTooLargeError, match=r"huge has 315 MB .* head"):
        client.read_file("huge")


def test_a_real_job(client: Client, tmp_path: Path) -> None:
    """A small package is written, its tests are run, and a file that they produce is read back."""
    client.write_file("job/shapes/__init__.py", "def area(a, b):\n    return a * b\n")
    client.write_file(
        "job/test_shapes.py",
        "import unittest\nfrom pathlib import Path\nfrom shapes import area\n\n\n"
        "class Area(unittest.TestCase):\n    def test_area(self):\n"
        "        self.assertEqual(area(6, 7), 42)\n        Path('report.txt').write_text('fine')\n",
    )
    result = client.execute_command("python3 -m unittest -v", cwd="/home/user/job")
    assert result.ok
    assert "OK" in result.stderr
    assert client.read_text("job/report.txt") == "fine"
