"""What Tab offers, asked as IPython asks; and through a real kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from IPython.core.completer import provisionalcompleter

from e2b_magic.client import shared_client
from e2b_magic.magics.registry import ALL
from e2b_magic.worker.caller import FakeCaller
from tests.magics.conftest import Notebook


def _offered(notebook: Notebook, text: str) -> list[str]:
    """Gives what the text before the cursor may become, each as the whole text."""
    with provisionalcompleter():
        found = list(notebook.shell.Completer.completions(text, len(text)))
    return [text[: one.start] + one.text for one in found]


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ("%e2b ru", "%e2b run"),
        ("%e2b ", "%e2b history"),
        ("r = %e2b ru", "r = %e2b run"),
        ("%e2b cache cl", "%e2b cache clear"),
        ("%e2b run --pro", "%e2b run --project"),
        ("%e2b run --cwd /tmp --no-c", "%e2b run --cwd /tmp --no-cache"),
        ("%e2b run --env A=1 --en", "%e2b run --env A=1 --env"),
        ("%e2b run --project we", "%e2b run --project web"),
        ("%e2b run --project=we", "%e2b run --project=web"),
        ("%e2b use we", "%e2b use web"),
        ("%e2b new --template ", "%e2b new --template base"),
        ("%e2b history --status fa", "%e2b history --status failed"),
        ("%e2b help his", "%e2b help history"),
        ("%e2b run ", "%e2b run --timeout"),
        ("%%e2b --wi", "%%e2b --with"),
        ("%%e2b --with py", "%%e2b --with python3"),
        ("%%e2b_file --mo", "%%e2b_file --mode"),
        ("x = 1\n%e2b ru", "x = 1\n%e2b run"),
    ],
)
def test_tab_completes(notebook: Notebook, text: str, completed: str) -> None:
    """Commands, options and known values are offered, also behind an assignment and in a later line."""
    notebook("%e2b run -p web x")
    assert completed in _offered(notebook, text)


@pytest.mark.parametrize("text", ["%e2b run ls --pro", "%e2b run -- --pro", "%e2b run --quiet --qui", "%e2b ls --app"])
def test_tab_offers_nothing_where_nothing_fits(notebook: Notebook, text: str) -> None:
    """No option is offered inside a command's own text, twice, or for another command."""
    ours = {name for command in ALL for name in command.options}
    assert not ours.intersection(one.split()[-1] for one in _offered(notebook, text) if one != text)


def test_recent_ids_are_offered(notebook: Notebook) -> None:
    """`show` offers the last executions."""
    record = notebook("%e2b run x").value
    assert f"%e2b show {record.id[-8:]}" in _offered(notebook, "%e2b show ")


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ("%e2b put dee", ["%e2b put deep/"]),
        ("%e2b put deep/", ["%e2b put deep/a\\ b/", "%e2b put deep/c.txt"]),
        ("%e2b put deep/a\\ b/", ["%e2b put deep/a\\ b/d"]),
        ("%e2b put deep/.h", ["%e2b put deep/.hidden"]),
        ("%e2b get x ~/o", ["%e2b get x ~/own"]),
        ("%e2b setup x --from dee", ["%e2b setup x --from deep/"]),
        ("%e2b export nowhere/", ["%e2b export nowhere/"]),
    ],
)
def test_paths_of_this_machine_are_offered(
    notebook: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, completed: list[str]
) -> None:
    """Directories are gone down into, spaces protected, a home found, and what is hidden is offered when asked for."""
    (tmp_path / "deep/a b").mkdir(parents=True)
    for name in ("deep/a b/d", "deep/c.txt", "deep/.hidden", "own"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _offered(notebook, text) == completed


def test_names_of_variables_are_offered(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--env` may name a text or what the environment has, without its value; `--stdin` whatever can be read."""
    monkeypatch.setenv("OUR_TOKEN", "hush")
    notebook("import sys as our_sys\nour_word, our_lines, our_number = 'hush', ['a'], 1\nour_result = %e2b run x")
    assert _offered(notebook, "%e2b run --env OUR_") == ["%e2b run --env OUR_TOKEN"]
    assert _offered(notebook, "%e2b run --env our_") == ["%e2b run --env our_word"]
    readable = [f"%e2b run --stdin our_{name}" for name in ("lines", "result", "word")]
    assert _offered(notebook, "%e2b run --stdin our_") == readable


def test_tab_asks_no_sandbox(notebook: Notebook, caller: FakeCaller) -> None:
    """Completion never asks a worker, whatever is completed."""
    for text in ("%e2b ", "%e2b read ", "%e2b ls --user ", "%e2b use ", "%e2b run --project "):
        _offered(notebook, text)
    assert caller.asked == []


def test_tab_survives_a_closed_store(notebook: Notebook) -> None:
    """With a store that cannot be read Tab offers nothing and raises nothing."""
    shared_client().store.close()
    assert _offered(notebook, "%e2b use we") == ["%e2b use we"]


def test_other_lines_are_left_to_ipython(notebook: Notebook) -> None:
    """Where no magic of ours stands, nothing changes."""
    notebook("walrus = 1")
    assert "walrus" in _offered(notebook, "walr")
    assert "print(e2b run" not in _offered(notebook, "print(e2b ")
