"""A sandbox from its beginning to its end, and its files as a shell's user handles them; over a real sandbox."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from e2b_magic import magics
from e2b_magic.client import Client, orphans
from e2b_magic.client.completion import WAIT
from e2b_magic.worker.protocol import Emit, Envelope
from tests.magics.conftest import Notebook, served_client, shown_as

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Gives a client on an embedded server that the module's tests share."""
    with served_client(tmp_path_factory.mktemp("lifecycle") / "e2b-magic") as client:
        yield client


@pytest.fixture
def notebook(shell: InteractiveShell, client: Client) -> Notebook:
    """Gives a notebook over that client, in the project `default`."""
    magics.load(shell)
    client.use_project("default")
    return Notebook(shell)


def test_a_sandbox_is_made_kept_and_ended(notebook: Notebook) -> None:
    """`new` makes the project's sandbox and the project current, `extend` and `timeout` move its end, `kill` ends."""
    made = notebook("%e2b new brief")
    assert made.error is None
    assert "of template base is the current project's, brief" in made.stdout
    assert "has a sandbox already" in notebook("%e2b new brief").stdout
    assert notebook("%e2b new --replace").error is None
    assert "ends in 1 h 59 min unless used" in notebook("%e2b extend 119m").stdout
    assert "ends in 10 min;" in notebook("%e2b timeout 10m").stdout
    listed = notebook("%e2b sandboxes").value
    assert [one.project for one in listed] == ["brief"]
    assert "brief" in shown_as(listed)
    assert notebook("%e2b gc --dry-run").value == []
    assert notebook("%e2b gc").stdout.endswith("]: Every sandbox belongs to a project.\n")
    assert "lives after use  10 min" in shown_as(notebook("%e2b info").value)
    assert notebook("%e2b kill").error is None
    assert notebook("%e2b sandboxes").value == []


def test_a_project_is_forgotten(notebook: Notebook, client: Client) -> None:
    """`kill --forget` ends the sandbox and takes the project off the list; its history stays, and its name is free."""
    notebook("%e2b run --project passing echo once")
    told = notebook("%e2b kill --forget passing").stdout.splitlines()
    assert told[0].startswith("Ended sandbox ")
    assert told[1] == "Forgot project passing; its history stays"
    assert "passing" not in [project.name for project in notebook("%e2b projects").value]
    assert [run.command for run in client.get_execution_history("passing")] == ["echo once"]
    assert notebook("%e2b kill --forget passing").stdout == "There is no project passing\n"
    client.store.update_project("far", sandbox_id="s1", backend="e2b.app", sandbox_expires_at=time.time() + 60)
    assert "has a sandbox on e2b.app" in notebook("%e2b kill --forget far").stdout
    client.store.forget_project("far")


def test_gc_tells_what_other_stores_left(
    notebook: Notebook, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The leavings of a store that is gone are counted, shown with its directory, and ended by `--all` alone."""
    monkeypatch.setattr(orphans, "NEW", 0.0)
    gone = f"{socket.gethostname()}/1/0.00 {tmp_path}"
    with monkeypatch.context() as patch:
        patch.setattr("e2b_magic.client.work.own_origin", lambda directory: gone)
        notebook("%e2b new stray")
    client.store.forget_project("stray")
    for line, count in (("%e2b gc --dry-run", 0), ("%e2b gc", 0), ("%e2b gc --all --dry-run", 1)):
        cell = notebook(line)
        assert len(cell.value) == count
        assert ("1 more comes from other stores" in cell.stdout) is not bool(count)
    shown = shown_as(cell.value)
    assert "stray" in shown
    assert str(tmp_path)[:50] in shown
    assert "Ended 1 sandbox that no project has" in notebook("%e2b gc --all").stdout
    assert notebook("%e2b gc --all --dry-run").value == []


def test_a_project_outlives_the_snapshot_that_it_was_made_from(notebook: Notebook) -> None:
    """When its snapshot was deleted, `new` says what to do, the old sandbox and its files stay, and that road works."""
    snapshot = notebook("%e2b run touch kept\n%e2b snapshot").value
    assert notebook(f"%e2b new --replace --template {snapshot.snapshot_id}").error is None
    assert notebook(f"%e2b snapshots delete {snapshot.snapshot_id}").error is None
    told = notebook("%e2b new --replace")
    assert "`%e2b new default --template base` makes its sandbox from another" in told.stdout + told.stderr
    assert notebook("%e2b run --no-cache ls").value.stdout == "kept\n"
    assert notebook("%e2b kill").error is None
    assert "any more" in str(notebook("%e2b run true").error)
    assert notebook("%e2b new --template base").error is None
    assert notebook("%e2b run --no-cache ls").value.stdout == ""


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("%e2b extend", "required: TIME"),
        ("%e2b extend soon", "'soon' is no time span"),
        ("%e2b timeout 0", "between 1 second and 30 days"),
        ("%e2b pause empty", "Project 'empty' has no sandbox"),
        ("%e2b fork default", "needs another name"),
        ("%e2b fork ../x", "cannot name a project"),
        ("%e2b snapshot Über", "cannot name a snapshot"),
        ("%e2b metrics empty", "Project 'empty' has no sandbox"),
    ],
)
def test_a_slip_is_one_line(notebook: Notebook, line: str, told: str) -> None:
    """What cannot be meant is told in one line, and no sandbox is made for it."""
    cell = notebook(line)
    assert cell.error is not None
    assert told in cell.stdout + cell.stderr
    assert len((cell.stdout + cell.stderr).strip().splitlines()) == 1


def test_the_template_is_a_setting(notebook: Notebook, client: Client) -> None:
    """`%config E2BMagics.template` is what a new project's sandbox is made from; a project that has one keeps it."""
    notebook("%e2b run true")
    notebook("%config E2BMagics.template = 'missing'")
    assert notebook("%e2b run --no-cache true").error is None
    assert "missing" in notebook("%e2b run -p fresh true").stdout
    notebook("%config E2BMagics.template = 'base'")
    assert notebook("%e2b run -p fresh true").error is None


def test_files_are_handled_as_in_a_shell(notebook: Notebook) -> None:
    """`mkdir`, `cp`, `mv`, `cat`, `find` and `tree` do what they do in a shell, and show it."""
    notebook("%%e2b_file notes/one.txt\n\x1b[31mred\x1b[0m\x1b[2J\n")
    assert notebook("%e2b mkdir notes/deep").stdout == "Made /home/user/notes/deep\n"
    assert notebook("%e2b cp notes/one.txt 'notes/deep/a b.txt'").stdout == "Copied to /home/user/notes/deep/a b.txt\n"
    assert notebook("%e2b mv notes/one.txt notes/two.txt").stdout == "Moved to /home/user/notes/two.txt\n"
    assert "recursive" in notebook("%e2b cp notes copy").stdout
    assert notebook("%e2b cp -r notes copy").error is None
    assert notebook("%e2b cat notes/two.txt").stdout == "\x1b[31mred\x1b[0m\n"
    assert [one.path for one in notebook("%e2b find --name *.txt notes").value] == [
        "/home/user/notes/deep/a b.txt",
        "/home/user/notes/two.txt",
    ]
    tree = notebook("%e2b tree notes").value
    assert shown_as(tree) == "/home/user/notes\n├── deep/\n│   └── a b.txt\n└── two.txt"
    assert "<pre>" in tree._repr_html_()
    assert [one.name for one in notebook("%e2b tree --depth 1 notes").value] == ["deep", "two.txt"]
    assert "more than 1 match" in notebook("%e2b find --limit 1 notes").stdout


@pytest.mark.parametrize("path", ["plain.py", "a b.py", "it's", "br{ace}", "-dash", "$HOME"])
def test_a_file_is_edited_in_the_next_cell(notebook: Notebook, path: str) -> None:
    """`edit` puts the file into a cell that writes it back unchanged when it is run, whatever its name and text."""
    text = "x = '{y}'  # $HOME\n\n\tlast\n"
    client: Client = notebook("from e2b_magic import shared_client\nshared_client()").value
    client.write_file(f"/home/user/edit/{path}", text)
    notebook.shell.user_ns["path"] = f"/home/user/edit/{path}"
    assert notebook("%e2b edit {path}").error is None
    cell = notebook.shell.rl_next_input
    assert cell is not None
    client.write_file(f"/home/user/edit/{path}", "other")
    notebook.shell.user_ns["ace"] = "expanded"
    assert notebook(cell).error is None
    assert client.read_text(f"/home/user/edit/{path}") == text


def test_what_fingers_write_is_taken(notebook: Notebook) -> None:
    """`mkdir -p`, `ls -la` and `rm -rf` mean what they mean in a shell; flags in one word are each for itself."""
    assert notebook("%e2b mkdir -p fingers/deep").stdout == "Made /home/user/fingers/deep\n"
    assert [entry.name for entry in notebook("%e2b ls -la fingers").value] == ["deep"]
    notebook("r = %e2b run --no-cache echo 1 > fingers/one; echo 2 > two")
    for path in ("fingers/one", "two", "/home/user/two"):
        assert [(entry.name, entry.size) for entry in notebook(f"%e2b ls -l {path}").value] == [(path[-3:], 2)]
    assert notebook("%e2b rm -rf fingers").stdout == "Removed /home/user/fingers\n"
    assert "RemoteFileNotFoundError" in notebook("%e2b rm -r fingers").stdout
    assert notebook("%e2b rm -rf fingers").stdout == "There was nothing at fingers\n"
    assert isinstance(notebook("%e2b rm -rx fingers").error, UsageError)


def test_a_file_that_is_not_there_is_begun_in_the_next_cell(notebook: Notebook) -> None:
    """`edit` of a new name says so, and the cell that it gives makes the file."""
    assert notebook("%e2b edit begun/new.py").stdout == "begun/new.py is not there yet: the next cell makes it\n"
    cell = notebook.shell.rl_next_input
    assert cell is not None
    assert notebook(f"{cell}x = 1\n").error is None
    assert notebook("%e2b read begun/new.py").value.strip() == "x = 1"


def test_a_tree_is_no_longer_than_a_table(notebook: Notebook) -> None:
    """A tree shows so many entries and how many more there are, and none of e2b-magic's own; the value has all."""
    notebook("r = %e2b run --no-cache mkdir -p tall/.e2b-magic/jobs; cd tall; seq 300 | xargs touch")
    tree = notebook("%e2b tree tall").value
    lines = shown_as(tree).splitlines()
    assert len(lines) == 202
    assert lines[-1] == "… and 100 more: --depth 1, or a directory's own tree, shows less at once"
    assert not any(".e2b-magic" in line for line in lines)
    assert len(tree) == 302


def test_what_a_cell_would_not_keep_is_not_edited(notebook: Notebook) -> None:
    """A file with carriage returns, one that is no text and one that is too large are refused in one line."""
    notebook(r"r = %e2b run printf 'a\r\n' > dos; printf '\377' > binary; head -c 300000 /dev/zero > large")
    for path, told in (("dos", "would not keep"), ("binary", "is not UTF-8"), ("large", "has 300 kB")):
        cell = notebook(f"%e2b edit {path}")
        assert told in cell.stdout + cell.stderr
        assert len((cell.stdout + cell.stderr).strip().splitlines()) == 1


def _offered(notebook: Notebook, text: str) -> list[str]:
    with provisionalcompleter():
        found = list(notebook.shell.Completer.completions(text, len(text)))
    return [text[: one.start] + one.text for one in found]


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ("%e2b read ", "%e2b read tab/"),
        ("%e2b read tab/on", "%e2b read tab/one.txt"),
        ("%e2b read /home/user/ta", "%e2b read /home/user/tab/"),
        ("%e2b read ~/tab/t", r"%e2b read ~/tab/two\ words.txt"),
        (r"%e2b read tab/two\ w", r"%e2b read tab/two\ words.txt"),
        ("%e2b read tab/.h", "%e2b read tab/.hidden"),
        ("%e2b run cat tab/on", "%e2b run cat tab/one.txt"),
        ("%e2b run --cwd tab cat on", "%e2b run --cwd tab cat one.txt"),
        ("%e2b run --cwd ta", "%e2b run --cwd tab/"),
        ("%e2b cp tab/one.txt ta", "%e2b cp tab/one.txt tab/"),
        ("%%e2b_file tab/on", "%%e2b_file tab/one.txt"),
        ("%e2b get tab/on", "%e2b get tab/one.txt"),
    ],
)
def test_tab_knows_the_sandboxs_files(notebook: Notebook, text: str, completed: str) -> None:
    """Paths in the sandbox are offered, quoted as a word needs it, relative to the command's directory."""
    notebook("r = %e2b run mkdir -p tab; cd tab; touch one.txt 'two words.txt' .hidden")
    deadline = time.monotonic() + 30
    while completed not in _offered(notebook, text):  # on a busy machine the first answer comes after Tab's
        assert time.monotonic() < deadline
    assert "%e2b read tab/.hidden" not in _offered(notebook, "%e2b read tab/")


def test_tab_waits_for_no_sandbox(notebook: Notebook, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sandbox that takes a second to answer, Tab waits 30 ms and takes little more, and makes no sandbox."""
    notebook("r = %e2b run touch here")
    call = client._work.caller.call

    async def slow(payload: dict[str, Any], emit: Emit) -> Envelope:
        await asyncio.sleep(1)
        return await call(payload, emit)

    monkeypatch.setattr(client._work.caller, "call", slow)
    took, peers = [], []
    for number in range(5):
        began = time.perf_counter()
        _offered(notebook, f"%e2b read slow{number}/")
        took.append(time.perf_counter() - began)
        began = time.perf_counter()
        _offered(notebook, "%e2b rea")  # which needs no sandbox
        time.sleep(WAIT)
        peers.append(time.perf_counter() - began)
    assert sorted(took)[2] < 1.5 * sorted(peers)[2]
    monkeypatch.undo()
    before = len(client.list_sandboxes())
    client.kill_sandbox()
    assert client.peek_directory("~") == ()
    assert len(client.list_sandboxes()) == before - 1


def test_what_a_sandbox_uses_is_shown(notebook: Notebook) -> None:
    """`metrics` gives what the server measured, as a table; a notebook has a plot of it where matplotlib is."""
    from e2b_magic.magics.snapshots import Measured
    from e2b_magic.records import SandboxMetrics

    notebook("r = %e2b run true")
    cell = notebook("%e2b metrics")
    assert cell.error is None
    assert isinstance(cell.value, Measured)
    pytest.importorskip("matplotlib")
    points = [SandboxMetrics(timestamp=float(second), memory_used=second * 10**6) for second in range(3)]
    cell.value[:] = points
    assert 'src="data:image/png;base64,iVBOR' in cell.value._repr_html_()
    cell.value[:] = points[:1]
    assert "<img" not in cell.value._repr_html_()


def test_a_sandbox_rests_and_is_copied(notebook: Notebook) -> None:
    """`pause`, `resume`, `snapshot`, `snapshots` and `fork` say what they did and what comes next."""
    notebook("%e2b new resting --replace\n%e2b run touch here")
    assert notebook("%e2b pause").stdout.startswith("Paused sandbox ")
    assert "paused; the next command resumes it" in notebook("%e2b").stdout
    assert "runs, for" in notebook("%e2b resume").stdout
    taken = notebook("%e2b snapshot moment")
    assert f"--template {taken.value.snapshot_id}" in taken.stdout
    assert "moment" in shown_as(notebook("%e2b snapshots").value)
    assert notebook(f"%e2b snapshots delete {taken.value.snapshot_id}").stdout.startswith("Deleted")
    assert "there is no snapshot" in notebook(f"%e2b snapshots delete {taken.value.snapshot_id}").stderr
    assert "a copy of that of resting: %e2b use twin" in notebook("%e2b fork twin").stdout
    assert notebook("%e2b run -p twin ls").value.stdout == "here\n"
    notebook("%e2b kill twin\n%e2b kill")
