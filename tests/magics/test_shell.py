"""`%e2b shell` in IPython in a real terminal, on a real sandbox."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from e2b_magic.embedded import runtime
from tests.magics.conftest import Notebook

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Gives the directory of an embedded server that the module's tests share."""
    directory = tmp_path_factory.mktemp("shell") / "e2b-magic"
    yield directory
    runtime.stop(directory / "embedded")


@pytest.fixture
def terminal(directory: Path) -> Iterator[pexpect.spawn]:
    """Gives IPython in a terminal of 100 columns and 30 rows, with a shell of the sandbox open in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("E2B_")}
    ours = {"E2B_MAGIC_DIRECTORY": str(directory), "IPYTHONDIR": str(directory.parent / "ipython"), "TERM": "xterm"}
    arguments = ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor", "--ext=e2b_magic"]
    child = pexpect.spawn(
        sys.executable, arguments, env={**kept, **ours}, encoding="utf-8", timeout=60, dimensions=(30, 100), cwd="/"
    )
    child.expect(r"In \[1\]: ")
    child.sendline("%e2b shell")
    child.expect(r"\$ ")
    yield child
    child.close(force=True)


def test_a_shell_runs_and_ends(terminal: pexpect.spawn) -> None:
    """What is typed runs in the sandbox, in a terminal of this one's size, and `exit` brings the prompt back.

    The shell's prompt says which project's sandbox this is, and where in it.
    """
    terminal.sendline("cd /tmp")
    terminal.expect_exact("(default) /tmp$ ")
    terminal.sendline("echo $((6*7)) $E2B_SANDBOX; stty size")
    terminal.expect("42 true\r\n30 100\r\n")
    terminal.setwinsize(20, 77)
    terminal.kill(signal.SIGWINCH)
    terminal.sendline("sleep 0.5; stty size")
    terminal.expect("20 77\r\n")
    terminal.sendline("exit 3")
    terminal.expect("The shell ended with exit code 3")
    terminal.expect(r"In \[2\]: ")
    terminal.sendline("print(6*7)")
    terminal.expect("42\r\n")


def test_ctrl_c_belongs_to_the_shell(terminal: pexpect.spawn) -> None:
    """Ctrl-C ends the command in the sandbox, not the shell, and not the cell; Ctrl-D ends the shell."""
    terminal.sendline("echo on; sleep 321")
    terminal.expect("on\r\n")
    terminal.send("\x03")
    terminal.expect(r"\$ ")
    terminal.sendline("echo still-$((1+1))")
    terminal.expect("still-2\r\n")
    terminal.send("\x04")
    terminal.expect(r"In \[2\]: ")


def test_a_shell_that_does_not_listen_is_left(terminal: pexpect.spawn) -> None:
    """Ctrl-] brings the prompt back whatever runs, and the terminal is as it was."""
    terminal.sendline("trap '' INT TERM HUP; echo deaf; sleep 321")
    terminal.expect("deaf\r\n")
    terminal.send("\x1d")
    terminal.expect(r"In \[2\]: ")
    terminal.sendline("import subprocess; print(b'-echo ' in subprocess.check_output(['stty', '-a']))")
    terminal.expect("False\r\n")


def test_a_notebook_is_told_what_to_use(notebook: Notebook) -> None:
    """Where there is no terminal, one line says so and names the ways that there are."""
    assert "%e2b shell needs a terminal" in str(notebook("%e2b shell").error)
