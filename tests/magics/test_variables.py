"""Python's variables on both sides of a command: its input, its environment, its output, its result."""

from __future__ import annotations

import base64

import pytest
from IPython.core.error import UsageError

from e2b_magic.client import shared_client
from e2b_magic.exceptions import CommandFailedError, InvalidRequestError
from e2b_magic.worker.caller import FakeCaller
from tests.magics.conftest import Notebook


def test_streams_go_into_variables(notebook: Notebook) -> None:
    """`--out` and `--err` name variables for the streams, also when the command fails or comes from the store."""
    notebook("%e2b run --out said hello")
    assert notebook("said").value == "hello\n"
    notebook("said = None")
    assert notebook("%e2b run --out said hello").value.cached
    assert notebook("said").value == "hello\n"
    notebook("%e2b run --err wrong complain no")
    assert notebook("wrong").value == "no\n"
    assert isinstance(notebook("%e2b run --out said exit 3").error, CommandFailedError)
    assert notebook("said").value == "exit 3\n"


@pytest.mark.parametrize("name", ["a.b", "1a", "class", "a-b", ""])
def test_what_cannot_be_a_variable_is_refused(notebook: Notebook, caller: FakeCaller, name: str) -> None:
    """A name that Python would not take is a UsageError, and nothing runs."""
    cell = notebook(f"%e2b run --out '{name}' x")
    assert isinstance(cell.error, UsageError)
    assert "cannot name a variable" in cell.stderr
    assert caller.asked == []


def test_a_command_reads_a_variable(notebook: Notebook, caller: FakeCaller) -> None:
    """`--stdin` gives a text, bytes, the lines of `!command`, or another's output; it enters the cache's key."""
    notebook("text, data = 'grün', b'\\xff\\x00'")
    for name, sent in (("text", "grün".encode()), ("data", b"\xff\x00")):
        notebook(f"%e2b run --stdin {name} cat")
        assert base64.b64decode(caller.asked[-1]["stdin"]) == sent
    assert notebook("%e2b run --stdin data cat").value.cached
    notebook("before = %e2b run echoed")
    notebook("%e2b run --stdin before cat")
    assert base64.b64decode(caller.asked[-1]["stdin"]) == b"echoed\n"
    notebook("lines = !printf 'one\\ntwo\\n'")
    notebook("%e2b run --stdin lines cat")
    assert base64.b64decode(caller.asked[-1]["stdin"]) == b"one\ntwo\n"


def test_a_command_reads_a_frame(notebook: Notebook, caller: FakeCaller) -> None:
    """`--stdin` gives a DataFrame as the CSV that `to_frame` reads back, its index where that is no count."""
    pytest.importorskip("pandas")
    notebook("import pandas\nframe = pandas.DataFrame({'a': [1, 2], 'b': ['x, y', 'z']})\nby_b = frame.set_index('b')")
    for name, sent in (("frame", b'a,b\n1,"x, y"\n2,z\n'), ("by_b", b'b,a\n"x, y",1\nz,2\n')):
        assert notebook(f"%e2b run --stdin {name} cat").error is None
        assert base64.b64decode(caller.asked[-1]["stdin"]) == sent


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("python3", "python3 -c 'it = \"'\"'\"'\"\n'"),
        ("/usr/bin/node --no-warnings", "/usr/bin/node --no-warnings -e 'it = \"'\"'\"'\"\n'"),
    ],
)
def test_a_cell_reads_a_variable(notebook: Notebook, caller: FakeCaller, program: str, command: str) -> None:
    """A cell for another program than bash leaves that its input, and so can read what `--stdin` names."""
    notebook("text = 'read'")
    assert notebook(f"%%e2b --with '{program}' --stdin text\nit = \"'\"\n").error is None
    assert caller.asked[-1]["command"] == command
    assert base64.b64decode(caller.asked[-1]["stdin"]) == b"read"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("%e2b run --stdin nobody cat", "no variable of that name"),
        ("%e2b run --stdin number cat", "a text, bytes, lines, a DataFrame or a result is wanted, not int"),
        ("%e2b run --bg --out x cat", "--out cannot be had with --bg"),
        ("%%e2b --with 'psql -q' --stdin text\nselect 1\n", "%e2b run --stdin text psql -q FILE"),
        ("%%e2b --with python3 --stdin text\n" + "x = 1\n" * 20_000, "%e2b run --stdin text python3 FILE"),
        ("%%e2b --template\n{nobody}\n", "{nobody} gave NameError"),
    ],
)
def test_a_slip_is_told(notebook: Notebook, caller: FakeCaller, line: str, told: str) -> None:
    """What cannot be meant is a UsageError before anything runs."""
    notebook("number, text = 7, 'x'")
    cell = notebook(line)
    assert isinstance(cell.error, UsageError)
    assert told in cell.stderr
    assert caller.asked == []


def test_a_secret_comes_from_notebook_or_environment(
    notebook: Notebook, caller: FakeCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--env NAME` hands on the notebook's text of that name, else the environment's, and shows it nowhere."""
    monkeypatch.setenv("TOKEN", "from-environment")
    notebook("%e2b run --env TOKEN one")
    assert caller.asked[-1]["envs"] == {"TOKEN": "from-environment"}
    notebook("TOKEN = 'c4n4ry'")
    cell = notebook("%e2b run --env TOKEN two")
    assert caller.asked[-1]["envs"] == {"TOKEN": "c4n4ry"}
    assert cell.value.env_names == ("TOKEN",)
    shown = cell.stdout + cell.stderr + repr(cell.value) + cell.value._repr_html_() + str(cell.value.to_json())
    assert "c4n4ry" not in shown
    unknown = notebook("%e2b run --env NOBODY three")
    assert "NOBODY is neither a text of this notebook's nor set" in unknown.stderr


def test_a_body_may_be_a_template(notebook: Notebook, caller: FakeCaller) -> None:
    """With `--template` each expression of a cell is filled in, without it none is."""
    notebook("n = 3")
    notebook("%%e2b --template\nfor i in $(seq {n + 1}); do echo ${{i}}; done\n")
    assert caller.asked[-1]["command"] == "for i in $(seq 4); do echo ${i}; done\n"
    notebook("%%e2b\necho {n}\n")
    assert caller.asked[-1]["command"] == "echo {n}\n"


def test_a_result_is_rerun(notebook: Notebook, caller: FakeCaller) -> None:
    """`rerun` asks the worker again, from a fresh result, a stored one and one of the history."""
    first = notebook("r = %e2b run -p web --cwd /srv hello\nr").value
    for result in (
        first,
        notebook("h = %e2b history -p web\nh[0]").value,
        notebook("%e2b run -p web --cwd /srv hello").value,
    ):
        count = len(caller.asked)
        again = result.rerun()
        assert len(caller.asked) == count + 1
        assert (again.command, again.project, again.cwd, again.cached) == ("hello", "web", "/srv", False)
        assert again.id != result.id
    assert shared_client().rerun_execution(first.id[-8:]).stdout == "hello\n"


def test_what_is_kept_nowhere_must_be_given_again(notebook: Notebook, caller: FakeCaller) -> None:
    """A command that had variables is rerun with them only; one that had an input is not rerun by itself."""
    result = notebook("%e2b run --env A=1 hello").value
    with pytest.raises(InvalidRequestError, match="the variables A, whose values are kept nowhere"):
        result.rerun()
    assert result.rerun({"A": "2"}).ok
    assert caller.asked[-1]["envs"] == {"A": "2"}
    notebook("text = 'x'")
    with pytest.raises(InvalidRequestError, match="had an input"):
        notebook("%e2b run --stdin text cat").value.rerun()
