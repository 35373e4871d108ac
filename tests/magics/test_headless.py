"""Notebooks that run where nobody can answer: papermill, `jupyter execute`, IPython without a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from e2b_magic.embedded import runtime
from tests.magics.kernels import environment_in

pytestmark = pytest.mark.sandbox

ASKING = """
for line in ("login", "shell"):
    try:
        get_ipython().run_line_magic("e2b", line)
    except Exception as error:
        print(type(error).__name__, error)
"""
CELLS = (
    "number = 1",
    "%load_ext e2b_magic",
    "r = %e2b run echo $((6 * {number}))",
    "%%e2b_file --template note.txt\nnumber {number}\n",
    "%e2b cat note.txt",
    "%e2b get note.txt got.txt",
    "%e2b put got.txt again.txt",
    "job = %e2b run --bg --quiet echo from a job\nended = %e2b wait\n%e2b logs",
    ASKING,
    "%e2b kill",
)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Gives an environment with a server of its own, and this Python's programs first."""
    kept = environment_in(tmp_path / "e2b-magic")
    yield {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"}
    runtime.stop(tmp_path / "e2b-magic" / "embedded")


def _notebook(path: Path) -> None:
    make: Any = nbformat.v4
    notebook = make.new_notebook(cells=[make.new_code_cell(source) for source in CELLS])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]


def _written(path: Path) -> str:
    """Gives all that the cells of a notebook wrote."""
    notebook: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    return "".join(output.text for output in outputs if output.output_type == "stream")


@pytest.mark.parametrize(
    ("program", "arguments", "number"),
    [
        ("papermill", ["in.ipynb", "out.ipynb", "--parameters", "number", "7", "--no-progress-bar"], 7),
        ("jupyter", ["execute", "--inplace", "in.ipynb"], 1),
    ],
    ids=["papermill", "jupyter execute"],
)
def test_a_notebook_runs_without_anybody(
    settings: dict[str, str], tmp_path: Path, program: str, arguments: list[str], number: int
) -> None:
    """Commands, files, transfers and jobs work; what would ask says in one line what to do instead."""
    _notebook(tmp_path / "in.ipynb")
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    ran = subprocess.run(command, env=settings, cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                         check=False)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    written = _written(tmp_path / ("out.ipynb" if program == "papermill" else "in.ipynb"))
    assert f"{6 * number}\n" in written
    assert f"number {number}\n" in written
    assert (tmp_path / "got.txt").read_text() == f"number {number}\n"
    assert "Put 1 file (9 bytes): /home/user/again.txt" in written
    assert "from a job\n" in written
    assert "UsageError %e2b login cannot ask for the key here: set E2B_API_KEY in the environment" in written
    assert "UsageError %e2b shell needs a terminal, and a notebook has none: use %e2b run here" in written


def test_ipython_without_a_terminal_asks_nothing(settings: dict[str, str], tmp_path: Path) -> None:
    """In a pipe, as under cron, `login` and `shell` are one line each and nothing waits for an answer."""
    for line, told in (("%e2b login", "set E2B_API_KEY"), ("%e2b shell", "needs a terminal")):
        command = [sys.executable, "-m", "IPython", "--ext=e2b_magic", "--colors=NoColor", "-c", line]
        ran = subprocess.run(command, env=settings, cwd=tmp_path, capture_output=True, text=True, timeout=60,
                             stdin=subprocess.DEVNULL, start_new_session=True, check=False)  # fmt: skip
        said = ran.stdout + ran.stderr
        assert told in said
        assert "Traceback" not in said
