"""The magics where people use them: a real kernel, a notebook run by nbclient, IPython in a terminal."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pexpect
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from e2b_magic.embedded import runtime
from tests.magics.kernels import (
    PROMPT_WITHIN,
    Kernel,
    environment_in,
    error_of,
    execute,
    published,
    running_kernel,
    text_of,
    until,
)

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Gives the directory of an embedded server that the module's tests share."""
    directory = tmp_path_factory.mktemp("kernel") / "e2b-magic"
    yield directory
    runtime.stop(directory / "embedded")


@pytest.fixture(scope="module")
def environment(directory: Path) -> dict[str, str]:
    """Gives the environment of a kernel or an IPython whose files lie in that directory."""
    return environment_in(directory)


@pytest.fixture(scope="module")
def kernel(environment: dict[str, str]) -> Iterator[Kernel]:
    """Gives a real kernel with the magics loaded and a sandbox started."""
    with running_kernel(environment) as kernel:
        yield kernel


def test_a_cell_has_its_output_and_a_short_value(kernel: Kernel) -> None:
    """In a kernel too the streams are told apart and the value is a line without the output."""
    messages = execute(kernel[1], "%e2b run echo out; echo err >&2")
    assert (text_of(messages, "stdout"), text_of(messages, "stderr")) == ("out\n", "err\n")
    (value,) = [message["content"]["data"] for message in messages if message["msg_type"] == "execute_result"]
    assert list(value) == ["text/plain", "text/html"]
    assert value["text/html"].startswith("<details><summary>")
    assert "success" in value["text/plain"]
    assert "out" not in value["text/plain"]


def test_what_the_magics_tell_is_no_error(kernel: Kernel) -> None:
    """What we tell beside a command's output is not shown as its standard error, which a notebook has in red."""
    execute(kernel[1], "r = %e2b run echo twice; echo err >&2")
    messages = execute(kernel[1], "r = %e2b run echo twice; echo err >&2")
    told, complained = text_of(messages, "stdout").splitlines(), text_of(messages, "stderr")
    assert (told[0], complained) == ("twice", "err\n")
    assert told[1].startswith("\x1b[90m[cached, ran ")


def test_an_error_is_one_line(kernel: Kernel) -> None:
    """A kernel's error message holds one line of traceback."""
    messages = execute(kernel[1], "%e2b run exit 3")
    error = error_of(messages)
    assert error["ename"] == "CommandFailedError"
    assert error["evalue"] == "The command exited with code 3"
    assert len(error["traceback"]) == 1


def test_an_interrupt_ends_the_command(kernel: Kernel) -> None:
    """The stop button keeps what was written, gives one line and the kernel back within 2 s, and leaves no process."""
    manager, client = kernel
    identity = client.execute("%e2b run echo started; sleep 98765 & sleep 98764")
    following = published(client, identity)
    messages = until("started", following)
    began = time.monotonic()
    manager.interrupt_kernel()
    messages.extend(following)
    took = time.monotonic() - began
    error = error_of(messages)
    assert error["ename"] == "KeyboardInterrupt"
    assert len(error["traceback"]) == 1
    assert took < PROMPT_WITHIN
    # The searching shell and its grep hold the pattern, not the numbers; the first search shows that it finds.
    search = "grep -laz 9876[45] /proc/[0-9]*/cmdline | wc -l"
    assert text_of(execute(client, f"r = %e2b run sleep 98765 & {search}; kill $!"), "stdout") != "0\n"
    assert text_of(execute(client, f"r = %e2b run --no-cache {search}"), "stdout") == "0\n"
    assert "interrupted" in text_of(execute(client, "r = %e2b history -n 4\nprint(r)"), "stdout")


def test_a_kernel_completes(kernel: Kernel) -> None:
    """Tab in a notebook offers commands, options and the projects that are known."""
    complete: Any = kernel[1].complete
    for code, expected in (
        ("%e2b hist", "history"),
        ("%e2b run --no-r", "--no-raise"),
        ("%%e2b --project def", "default"),
    ):
        reply = complete(code, len(code), reply=True, timeout=30)["content"]
        assert expected in reply["matches"]
        assert code[: reply["cursor_start"]] + expected == code[: code.rindex(" ") + 1] + expected


def test_a_failing_cell_stops_run_all(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Running all cells ends at the one that fails, whose error is one line; with `--no-raise` it goes on."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    make: Any = nbformat.v4
    sources = ["%load_ext e2b_magic", "%e2b run --no-raise exit 2", "print('on')", "%e2b run exit 3", "print('never')"]
    notebook = make.new_notebook(cells=[make.new_code_cell(source) for source in sources])
    with pytest.raises(CellExecutionError, match="CommandFailedError"):
        NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    assert [cell["execution_count"] for cell in notebook.cells] == [1, 2, 3, 4, None]
    (error,) = [output for output in notebook.cells[3].outputs if output.output_type == "error"]
    assert len(error.traceback) == 1


def test_ctrl_c_gives_the_terminal_back(environment: dict[str, str]) -> None:
    """In IPython in a terminal Ctrl-C keeps the partial output, shows one line and the prompt within 2 s."""
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", "--ext=e2b_magic", "--simple-prompt", "--colors=NoColor"],
        env=environment,
        encoding="utf-8",
        timeout=30,
    )
    terminal.expect(r"In \[1\]: ")
    terminal.sendline("%e2b run printf 'be''gun'; sleep 87654")
    terminal.expect("begun")
    began = time.monotonic()
    terminal.sendintr()
    terminal.expect(r"In \[2\]: ")
    took = time.monotonic() - began
    lines = [line for line in terminal.before.splitlines() if line.strip() not in ("", "^C")]
    assert len(lines) == 1
    assert lines[0].startswith("KeyboardInterrupt: the command was interrupted")
    assert took < PROMPT_WITHIN
    terminal.sendline("%e2b run --no-cache grep -laz 8765[4] /proc/[0-9]*/cmdline | wc -l")
    terminal.expect(r"\r\n0\r\n")
    terminal.sendline("exit")
    terminal.expect(pexpect.EOF)
    terminal.close()


def test_a_terminal_command_line_works(environment: dict[str, str]) -> None:
    """`ipython --ext=e2b_magic -c` runs a command; the second time the answer is the store's."""
    command = "%e2b run git --version && python3 -c 'print(6*7)'"
    run = [sys.executable, "-m", "IPython", "--ext=e2b_magic", "-c", command]
    outputs = [
        subprocess.run(run, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout
        for _ in range(2)
    ]
    for output in outputs:
        assert "git version" in output
        assert "\n42\n" in output
    assert ", cached" not in outputs[0]
    assert ", cached" in outputs[1]


def test_a_cell_may_await(kernel: Kernel) -> None:
    """At a cell's top level verbs are awaited, several at once; beside a running loop the plain ones work too."""
    code = (
        "import asyncio\n"
        "from e2b_magic import shared_client\n"
        "client = shared_client()\n"
        "results = await asyncio.gather(*(client.aexecute_command(f'echo {n}') for n in range(3)))\n"
        "print([one.stdout for one in results], client.execute_command('echo plain').stdout)"
    )
    assert text_of(execute(kernel[1], code), "stdout") == "['0\\n', '1\\n', '2\\n'] plain\n\n"


def test_a_kernel_completes_remote_paths(kernel: Kernel) -> None:
    """Tab in a notebook offers what lies in the sandbox, also behind a command."""
    complete: Any = kernel[1].complete
    execute(kernel[1], "r = %e2b run --quiet mkdir -p inside && touch inside/found.txt")
    for code in ("%e2b cat inside/f", "r = %e2b run cat inside/f"):
        deadline = time.monotonic() + 30
        matches: list[str] = []
        while "inside/found.txt" not in matches:  # on a busy machine the first answer comes after Tab's
            assert time.monotonic() < deadline
            matches = complete(code, len(code), reply=True, timeout=30)["content"]["matches"]
