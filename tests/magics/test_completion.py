"""What Tab offers, asked as IPython asks; and through a real kernel."""

from __future__ import annotations

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
