"""The parts without a client: the tree of files, the magic of a past command, a plot, a page of rows."""

from __future__ import annotations

import threading

import pytest
from ipywidgets import Button

from e2b_magic.magics.registry import CELL, find
from e2b_magic.panels.magic import as_magic
from e2b_magic.panels.output import CHARACTERS, LINES, OutputBox
from e2b_magic.panels.plots import HEIGHT, sparkline
from e2b_magic.panels.rows import Row, Rows
from e2b_magic.panels.tree import Tree, above, inside
from e2b_magic.panels.view import close_all
from e2b_magic.records import ExecutionResult, FileEntry
from e2b_magic.worker.protocol import Output

from .conftest import widgets_alive


def _entry(path: str, kind: str = "file") -> FileEntry:
    return FileEntry(name=path.rpartition("/")[2], path=path, type=kind)


def test_a_tree_shows_what_is_open() -> None:
    """Rows are indented below their directory, and folding one takes those below it too."""
    tree = Tree("/h")
    tree.put("/h", [_entry("/h/src", "dir"), _entry("/h/a")])
    tree.put("/h/src", [_entry("/h/src/deep", "dir")])
    tree.put("/h/src/deep", [_entry("/h/src/deep/x")])
    assert [(branch.entry.path, branch.depth, branch.opened) for branch in tree.rows()] == [
        ("/h/src", 0, True),
        ("/h/src/deep", 1, True),
        ("/h/src/deep/x", 2, False),
        ("/h/a", 0, False),
    ]
    tree.fold("/h/src")
    assert [branch.entry.path for branch in tree.rows()] == ["/h/src", "/h/a"]
    assert tree.opened == ["/h"]


def test_paths_go_up_and_down() -> None:
    """The directory above the root is the root; an absolute name is itself."""
    assert [above("/a/b/"), above("/a"), above("/")] == ["/a", "/", "/"]
    assert [inside("/a", "b"), inside("/a", "/b")] == ["/a/b", "/b"]


@pytest.mark.parametrize(
    ("command", "options", "magic"),
    [
        ("npm test", {}, "%e2b run npm test"),
        ("-v", {}, "%e2b run -- -v"),
        ("echo $HOME", {}, "%%e2b\necho $HOME"),
        ("cd x\nmake", {"cwd": "my dir"}, "%%e2b --cwd 'my dir'\ncd x\nmake"),
        ("ls", {"project": "web", "env_names": ("A", "B")}, "%e2b run --project web --env A --env B ls"),
    ],
)
def test_a_past_command_is_a_magic(
    command: str, options: dict[str, str], magic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text to copy is what the magics read back as the same command."""
    monkeypatch.setenv("A", "1")
    monkeypatch.setenv("B", "2")
    record = ExecutionResult(**{"id": "x", "project": "default", "command": command, **options})  # type: ignore[arg-type]
    assert as_magic(record, "default") == magic
    from e2b_magic.magics.context import Context

    head, _, body = magic.partition("\n")
    if body:
        arguments = CELL["%%e2b"].parse(head.removeprefix("%%e2b"), Context())
        assert body == command
    else:
        declared, rest = find(head.removeprefix("%e2b "))
        arguments = declared.parse(rest, Context())
        assert arguments.command == command
    assert arguments.cwd == options.get("cwd")


def test_a_plot_says_its_figure() -> None:
    """The line stays inside the picture, and its newest value is there as text."""
    plot = sparkline("CPU", [0, 50, 1000], most=100, latest="<1000 %>")
    assert f'points="0.0,{HEIGHT - 1}.0 120.0,20.0 240.0,1.0"' in plot
    assert 'role="img" aria-label="CPU: &lt;1000 %&gt;"' in plot
    # Of one measurement a level line, of none no line; a machine without memory is none to divide by.
    assert f'points="0.0,{HEIGHT - 1}.0 240.0,{HEIGHT - 1}.0"' in sparkline("Memory", [7], most=0, latest="")
    assert 'points=""' in sparkline("Memory", [], most=0, latest="")


def test_the_page_holds_the_end_alone() -> None:
    """Of a long output the page has the last lines, and says how much came before."""
    box = OutputBox("Output")
    text = "".join(f"line {number}\n" for number in range(20_000))
    box.show_pieces([Output("stdout", text)], dropped=7)
    shown = box.children[0].value
    assert shown.count("\n") <= LINES + 1
    assert "line 19999\n" in shown
    assert "characters before this" in shown
    box.show_pieces([Output("stdout", "x" * 1_000_000)], dropped=0)
    assert len(box.children[0].value) < CHARACTERS + 500
    box.close()


def test_rows_are_labelled_anew() -> None:
    """Pages reuse their buttons, names are shown on one line as they are, and nothing is left after `close`."""
    before = widgets_alive()
    pressed: list[int] = []
    rows = Rows(pressed.append, pressed.append, empty="nothing")
    assert rows.later.layout.display == "none"  # until there is another page
    page = [Row(f"<b>{number}\n</b>", f"whole {number}", chosen=number == 1) for number in range(3)]
    rows.show_page(page, where="1 to 3", earlier=False, later=True)
    buttons = rows.children[0].children
    assert [button.description for button in buttons] == ["<b>0 </b>", "<b>1 </b>", "<b>2 </b>"]
    assert ["e2b-chosen" in button._dom_classes for button in buttons] == [False, True, False]
    buttons[2].click()
    rows.later.click()
    assert pressed == [2, 1]
    rows.show_page([Row("a\tb", "", columns="when")], where="", earlier=False, later=False)
    assert rows.children[0].children[0].description == "when\ta\\tb"
    rows.show_page(page[:1], where="4 to 4", earlier=True, later=False)
    assert rows.children[0].children == buttons[:1]
    close_all((rows,))
    assert widgets_alive() <= before


def test_rows_that_are_being_made_are_closed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel that is closed while a page of it is being made leaves no button of that page."""
    before = widgets_alive()
    rows = Rows(print, print, empty="nothing")
    begun, closing = threading.Event(), threading.Event()

    def make(**settings: object) -> Button:
        begun.set()
        closing.wait(0.2)
        return Button(**settings)

    monkeypatch.setattr("e2b_magic.panels.rows.Button", make)
    page = [Row("one", ""), Row("two", "")]
    maker = threading.Thread(
        target=rows.show_page, args=(page,), kwargs={"where": "", "earlier": False, "later": False}
    )
    maker.start()
    assert begun.wait(30)
    close_all((rows,))
    closing.set()
    maker.join()
    assert widgets_alive() <= before
