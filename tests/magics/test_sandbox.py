"""The magics over a real sandbox: a real job, the shell's own text, long scripts, and each slip's one line."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from e2b_magic import magics
from e2b_magic.client import Client
from tests.magics.conftest import Notebook, served_client

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Gives a client on an embedded server that the module's tests share."""
    with served_client(tmp_path_factory.mktemp("magics") / "e2b-magic") as client:
        yield client


@pytest.fixture
def notebook(shell: InteractiveShell, client: Client) -> Notebook:
    """Gives a notebook over that client."""
    magics.load(shell)
    return Notebook(shell)


def test_a_package_is_written_tested_and_read(notebook: Notebook) -> None:
    """The real job: a package from cells, its tests run, what they made read back, the second run from the store."""
    notebook("%%e2b_file work/shapes/__init__.py\ndef area(side):\n    return {'square': side * side}['square']\n")
    notebook(
        "%%e2b_file work/test_shapes.py\n"
        "import pathlib, unittest\n"
        "from shapes import area\n\n"
        "class Areas(unittest.TestCase):\n"
        "    def test_square(self):\n"
        "        self.assertEqual(area(3), 9)\n"
        "        pathlib.Path('report.txt').write_text(f'area {area(3)}\\n')\n"
    )
    tested = notebook("r = %e2b run --cwd work python3 -m unittest -v")
    assert tested.error is None
    assert tested.stdout == ""
    assert "test_square (test_shapes.Areas" in tested.stderr
    assert notebook("%e2b read work/report.txt").value == "area 9\n"
    assert [entry.name for entry in notebook("%e2b ls work").value if entry.type == "file"] == [
        "report.txt",
        "test_shapes.py",
    ]
    assert notebook("%e2b run --cwd work python3 -m unittest -v").value.cached


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("""printf '%s|' "a  b" '$HOME' $(echo c) {d,e} ${nobody:-f}""", "a  b|$HOME|c|d|e|f|"),
        ("""echo "$HOME" && echo 'x y z' | awk '{print $2}'""", "/home/user\ny\n"),
        ("echo one; echo two | awk '{print}'", "one\ntwo\n"),
        ('set -- p q; echo $1 $# -- "it\'s"', "p 2 -- it's\n"),
        (r"printf '%s\n' \\ \$HOME", "\\\n$HOME\n"),
    ],
)
def test_the_shell_sees_its_own_text(notebook: Notebook, command: str, output: str) -> None:
    """Dollars, braces, quotes and backslashes mean to bash what they mean without IPython."""
    cell = notebook(f"r = %e2b run {command}")
    assert (cell.error, cell.stdout) == (None, output)


def test_output_streams(notebook: Notebook) -> None:
    """What a command prints is in the cell while the command still runs."""
    arrived: list[float] = []

    class Clock(io.StringIO):
        def write(self, text: str) -> int:
            arrived.append(time.monotonic())
            return super().write(text)

    run: Any = notebook.shell.run_cell
    with redirect_stdout(Clock()):
        run("r = %e2b run echo one; sleep 1; echo two")
    assert arrived[-1] - arrived[0] > 0.8


def test_a_script_ends_with_its_last_code(notebook: Notebook) -> None:
    """A cell is one script: state carries over its lines, and its exit code is the last command's."""
    cell = notebook("%%e2b --no-raise\nx='{1} $2'\nfalse\necho \"$x\"\nexit 5\n")
    assert cell.stdout.startswith("{1} $2\n")
    assert cell.value.exit_code == 5


@pytest.mark.parametrize(("program", "line"), [("bash", "echo last; cat"), ("python3", "print('last')")])
def test_a_long_script_runs_and_leaves_no_file(notebook: Notebook, program: str, line: str) -> None:
    """A script longer than one argument may be runs all the same, with an input of its own, and is gone after it."""
    filler = ("# " + "x" * 97 + "\n") * 2000
    cell = notebook(f"%%e2b --with {program}\n{filler}{line}\n")
    assert cell.error is None
    assert cell.stdout.splitlines()[0] == "last"
    assert notebook("r = %e2b run --no-cache ls -A /tmp | grep -c e2b-magic || true").stdout == "0\n"


@pytest.mark.parametrize(
    ("program", "script"),
    [
        ("python3", "import sys\nfor n in range(2):\n    print(n, 'it''s')\nprint('oops', file=sys.stderr)\n"),
        ("node", "for (const n of [0, 1]) console.log(`${n} its`)\nconsole.error('oops')\n"),
        ("perl", 'print "$_ its\\n" for (0, 1); print STDERR \'oops\', "\\n";\n'),
    ],
)
def test_a_cell_may_be_another_language(notebook: Notebook, program: str, script: str) -> None:
    """`--with` runs the cell by an interpreter of the sandbox, which reads it from its input."""
    if shutil.which(program, path="/usr/bin:/bin") is None:
        pytest.skip(f"{program} is not in /usr/bin, which the sandbox sees")
    cell = notebook(f"%%e2b --with {program}\n{script}")
    assert cell.error is None
    assert (cell.value.stdout, cell.value.stderr) == ("0 its\n1 its\n", "oops\n")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("%e2b read nothing.txt", "nothing.txt"),
        ("%e2b read /tmp", "/tmp is a directory"),
        ("%e2b tree /etc/passwd", "/etc/passwd is a file"),
        ("%e2b ls /nowhere", "/nowhere"),
        ("%e2b rm /nowhere/x", "/nowhere/x"),
        ("%e2b rm folder", "is a directory"),
        ("%e2b read big", "300 MB"),
        ("%e2b read binary", "binary is not UTF-8 text"),
        ("%e2b run --cwd /nowhere true", "/nowhere"),
        ("%e2b run --timeout 0.5 sleep 60", "ran longer than 0.5 s"),
        ("%e2b run no-such-program", "exited with code 127"),
        ("%e2b run --quiet -- --help", "exited with code 127"),
        ("%e2b run kill -9 $$", "ended by a signal"),
        ("%e2b setup branchless --ref main", "'main' is a branch of no repository"),
        ("%%e2b_file /tmp\ntext\n", "/tmp is a directory"),
    ],
)
def test_a_slip_is_one_clear_line(notebook: Notebook, line: str, told: str) -> None:
    """Whatever is wrong in the sandbox is told in one line, without a traceback, and the next cell works."""
    notebook(r"r = %e2b run mkdir -p folder; truncate -s 300MB big; printf '\200\377' > binary")
    cell = notebook(line)
    assert cell.error is not None
    assert told in cell.stdout
    assert len(cell.stdout.splitlines()) == 1, cell.stdout
    assert notebook("r = %e2b run --no-cache echo on").stdout == "on\n"


def test_a_sandbox_is_looked_at_and_ended(notebook: Notebook) -> None:
    """`status` shows the time left, `kill` ends the sandbox, and the next command says that its files are lost."""
    notebook("%e2b use brief")
    assert "no sandbox yet" in notebook("%e2b status").value["state"]
    notebook("%e2b run touch here")
    status = notebook("%e2b status").value
    assert (status["state"], status["ends in"]) == ("running", "1 h")
    assert notebook("%e2b kill").stdout.startswith(f"Ended sandbox {status['sandbox']} of project brief")
    assert notebook("%e2b run --no-raise ls here").value.exit_code != 0
    notebook("%e2b use default")


def test_a_command_reads_its_input(notebook: Notebook) -> None:
    """`--stdin` reaches the command to the last byte and ends; one that does not read it all is no failure."""
    notebook("data = bytes(range(256)) * 20_000")
    told = notebook("r = %e2b run --stdin data sha256sum; wc -c < /dev/null")
    import hashlib

    assert told.stdout.startswith(hashlib.sha256(bytes(range(256)) * 20_000).hexdigest())
    began = time.monotonic()
    assert notebook("r = %e2b run --no-cache --stdin data head -c 4 | wc -c").stdout == "4\n"
    assert notebook("r = %e2b run --no-cache --stdin data true").error is None
    assert time.monotonic() - began < 30
