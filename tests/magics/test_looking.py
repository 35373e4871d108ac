"""Files, history, projects, cache and help: what is given, and how it shows itself."""

from __future__ import annotations

import getpass
import time
from typing import Any

import pytest
from IPython.core.error import StdinNotImplementedError, UsageError

from e2b_magic.client import shared_client
from e2b_magic.magics.help import WIDTH
from e2b_magic.magics.registry import ALL
from e2b_magic.worker.caller import FakeCaller
from tests.magics.conftest import Notebook, Sandbox, shown_as


def test_a_file_is_written_as_it_stands(notebook: Notebook, sandbox: Sandbox, caller: FakeCaller) -> None:
    """The cell's text is the file's, braces and all; mode and append reach the worker."""
    notebook("x = 1")
    body = 'print(f"{x} {{y}} $x \\n")\n'
    cell = notebook(f"%%e2b_file --mode 755 pkg/a.py\n{body}")
    assert sandbox.files == {"pkg/a.py": body}
    assert caller.asked[-1]["mode"] == 0o755
    assert cell.stdout == f"Wrote /home/user/pkg/a.py ({len(body)} bytes)\n"
    assert notebook("%%e2b_file --append pkg/a.py\nmore\n").stdout.startswith("Appended to /home/user/pkg/a.py")
    assert caller.asked[-1]["append"] is True


def test_a_file_may_be_a_template(notebook: Notebook, sandbox: Sandbox) -> None:
    """With `--template` each expression is filled in; one that fails is an error and writes nothing."""
    notebook("seed = 7")
    notebook("%%e2b_file --template run.sh\nrun --seed {seed + 1} ${{HOME}}\n")
    assert sandbox.files == {"run.sh": "run --seed 8 ${HOME}\n"}
    cell = notebook("%%e2b_file --template other.sh\n{nobody}\n")
    assert isinstance(cell.error, UsageError)
    assert "other.sh" not in sandbox.files


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--mode 9 x", "no permission bits"),
        ("", "required: PATH"),
        ("--mode 755", "required: PATH"),
        ("a b", "does not take 'b'"),
    ],
)
def test_a_slip_at_writing_is_told(notebook: Notebook, sandbox: Sandbox, line: str, told: str) -> None:
    """A wrong mode or path is a UsageError, and nothing is written."""
    cell = notebook(f"%%e2b_file {line}\ntext\n")
    assert isinstance(cell.error, UsageError)
    assert told in cell.stderr
    assert sandbox.files == {}


def test_a_file_is_read_as_text(notebook: Notebook, sandbox: Sandbox) -> None:
    """`read` gives a str that is shown as a file is read."""
    sandbox.files["a b.txt"] = "one\n\x1b[2Jtwo\n"
    cell = notebook("text = %e2b read 'a b.txt'\ntext")
    assert cell.value == "one\n\x1b[2Jtwo\n"
    assert shown_as(cell.value) == "one\ntwo"


def test_a_file_is_read_as_bytes(notebook: Notebook, sandbox: Sandbox) -> None:
    """`read --bytes` gives bytes that are shown by their size and beginning; without it, what is no text is refused."""
    sandbox.files["logo"] = "\x89PNG" + "x" * 1000
    sandbox.files["logo"] = "\udc89PNG" + "x" * 1000
    cell = notebook("%e2b read --bytes logo")
    assert cell.value == b"\x89PNG" + b"x" * 1000
    assert shown_as(cell.value).startswith("<1 kB: b'\\x89PNGxxx")
    refused = notebook("%e2b read logo")
    assert "is not UTF-8 text" in refused.stdout
    assert len(refused.stdout.splitlines()) == 1


def test_a_missing_file_is_one_line(notebook: Notebook) -> None:
    """What the worker answers is the error's one line."""
    cell = notebook("%e2b read nothing.txt")
    assert cell.stdout == "\x1b[31mRemoteFileNotFoundError\x1b[39m: There is nothing at nothing.txt\n"


def test_a_directory_is_a_list_and_a_table(notebook: Notebook, sandbox: Sandbox) -> None:
    """`ls` gives a list of entries; shown, names that steer a terminal or a page are harmless."""
    sandbox.files = {"<b>x": "12345", "evil\x1b[2J": ""}
    cell = notebook("%e2b ls")
    assert [entry.size for entry in cell.value] == [5, 0]
    assert "5 bytes" in cell.stdout
    assert "evil\\x1b[2J" in cell.stdout
    shown = cell.value._repr_html_()
    assert '<td style="text-align:left">&lt;b&gt;x</td>' in shown
    assert '<td style="text-align:right;white-space:nowrap">5 bytes</td>' in shown
    assert "<b>" not in shown


def test_a_file_is_removed(notebook: Notebook, sandbox: Sandbox, caller: FakeCaller) -> None:
    """`rm` removes, and `-r` is handed on."""
    sandbox.files = {"a": "", "b": ""}
    assert notebook("%e2b rm a").stdout == "Removed /home/user/a\n"
    assert not caller.asked[-1]["recursive"]
    notebook("%e2b rm -r b")
    assert caller.asked[-1]["recursive"]
    assert sandbox.files == {}


def test_history_is_a_list_and_a_table(notebook: Notebook) -> None:
    """`history` gives results, newest first, of the current project or of all, and finds by text and status."""
    for line in ("%e2b run one", "%e2b run one", "%e2b run --no-raise exit 3", "%e2b run -p web two"):
        notebook(line)
    cell = notebook("%e2b history")
    assert [record.command for record in cell.value] == ["exit 3", "one", "one"]
    assert [line.split()[-1] for line in cell.stdout.splitlines()[2:]] == ["3", "one", "one"]
    assert "cached" in cell.stdout
    assert "project" not in cell.stdout
    assert len(notebook("%e2b history --all").value) == 4
    assert [record.exit_code for record in notebook("%e2b history --status failed").value] == [3]
    assert len(notebook("%e2b history -n 1").value) == 1
    assert len(notebook("%e2b history one --since 1h").value) == 2
    last = cell.value[0].id[-8:]
    assert len(notebook(f"%e2b history --before {last}").value) == 2
    assert notebook("%e2b history nothing_like_it").value == []


def test_a_long_table_is_cut(notebook: Notebook, sandbox: Sandbox) -> None:
    """A table shows so many rows and how many more there are; the list has all. A long text is cut."""
    sandbox.files = {f"{number:04}" + "x" * 100: "" for number in range(205)}
    cell = notebook("%e2b ls")
    assert len(cell.value) == 205
    assert str(cell.value).endswith("\n… and 5 more")
    assert cell.value._repr_html_().endswith("… and 5 more")
    assert max(map(len, str(cell.value).splitlines())) < 120
    notebook("%%e2b\n" + "echo long\n" * 1000)
    assert len(notebook("r = %e2b show").stdout.splitlines()[1]) < 400


def test_an_empty_table_says_so(notebook: Notebook) -> None:
    """A table without rows is a sentence, in text and in HTML."""
    cell = notebook("%e2b history")
    assert shown_as(cell.value) == "Nothing was run that this would find."
    assert cell.value._repr_html_() == "<em>Nothing was run that this would find.</em>"
    assert shown_as(notebook("%e2b projects").value) == "There is no project yet: the first command makes one."


def test_an_execution_is_shown_again(notebook: Notebook, caller: FakeCaller) -> None:
    """`show` prints an execution's properties and output, and gives its record; without an id the newest."""
    first = notebook("%e2b run --cwd /tmp complain loudly").value
    notebook("%e2b run hello")
    cell = notebook(f"r = %e2b show {first.id[-8:]}")
    assert cell.stderr == "loudly\n"
    assert "/tmp" in cell.stdout
    assert "hello" in notebook("%e2b show").stdout
    assert len(caller.asked) == 2


def test_nothing_to_show_is_told(notebook: Notebook) -> None:
    """`show` before anything was run is a UsageError."""
    assert "nothing was run in project 'default' yet" in notebook("%e2b show").stderr


def test_the_cache_is_shown_and_cleared(notebook: Notebook) -> None:
    """`cache` gives its figures; `cache clear` takes a command's text as it was run, or a project."""
    for line in ("%e2b run echo 'a  b'", "%e2b run two", "%e2b run -p web two"):
        notebook(line)
    assert notebook("%e2b cache").value["results"] == "3"
    assert notebook("%e2b cache clear echo 'a  b'").stdout == "Forgot 1 cached result\n"
    assert notebook("%e2b cache clear --project web").stdout == "Forgot 1 cached result\n"
    assert notebook("%e2b cache clear").stdout == "Forgot 1 cached result\n"
    assert notebook("%e2b cache show").value["results"] == "0"


def test_the_newest_cached_results_are_listed(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cache` lists ten results, the newest first, with age, time left and size; `--all` lists every one."""
    for number in range(12):
        notebook(f"r = %e2b run say {number} <b>\n%e2b run say {number} <b>")
    later = time.time() + 630
    monkeypatch.setattr(time, "time", lambda: later)
    cell = notebook("%e2b cache").value
    assert [entry.command for entry in cell.entries] == [f"say {number} <b>" for number in range(11, 1, -1)]
    lines = shown_as(cell).splitlines()
    # Not 12 misses: where no sandbox is known yet there is nothing to look for.
    assert lines[:4] == ["results  12", lines[1], "hits     12", "misses   11"]
    assert lines[-1] == "… and 2 more: %e2b cache show --all"
    newest = lines[6].split()
    assert (newest[:5], newest[-3:]) == (["10", "min", "ago", "49", "min"], ["say", "11", "<b>"])
    assert cell.entries[0].size > len("say 11 <b>")
    assert "&lt;b&gt;" in cell._repr_html_()
    assert len(notebook("%e2b cache show --all").value.entries) == 12
    frame = notebook("%e2b cache").value.entries.to_frame()
    assert list(frame.columns[:2]) == ["command", "project"]


def test_projects_are_chosen_and_listed(notebook: Notebook, caller: FakeCaller) -> None:
    """`use` makes a project current, for the client and for `%config` too."""
    notebook("%e2b run x")
    assert notebook("%e2b use web").stdout == "The current project is web, a new one\n"
    notebook("%e2b run x")
    assert caller.asked[-1]["project_id"] == "web"
    assert notebook("%config E2BMagics.project").value == "web"
    listed = notebook("%e2b projects")
    assert [project.name for project in listed.value] == ["default", "web"]
    assert "web *" in listed.stdout
    assert notebook("%e2b use default").stdout == "The current project is default\n"


def test_a_project_is_explained(notebook: Notebook) -> None:
    """`info` gives what is stored, `status` what the server says, `kill` ends the sandbox."""
    notebook("%e2b run x")
    assert notebook("%e2b info").value["sandbox"] == "sandbox1"
    assert notebook("%e2b info web").value["sandbox"] == "none yet"
    assert "no sandbox yet" in notebook("%e2b status").value["state"]
    assert notebook("%e2b kill").stdout == "Ended sandbox sandbox1 of project default, its files with it\n"
    assert notebook("%e2b kill").stdout == "Project default has no sandbox\n"


def test_alone_it_says_where_you_are(notebook: Notebook, caller: FakeCaller) -> None:
    """`%e2b` shows backend, project, sandbox, time left, cache and the commands, and asks no server."""
    before = notebook("%e2b").stdout
    assert "none; the first command makes one" in before
    notebook("%e2b run x")
    asked = len(caller.asked)
    shown = notebook("%e2b").stdout
    assert "embedded" in shown
    assert "default" in shown
    assert "sandbox1, ends in 1 h" in shown
    assert "1 result, " in shown
    assert all(command.invocation in shown for command in ALL)
    assert len(caller.asked) == asked


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.name)
def test_every_command_explains_itself(notebook: Notebook, command: Any) -> None:
    """`help` and `--help` give the same: usage, summary, every argument, the examples."""
    told = notebook(f"%e2b help {command.name}").stdout
    if command.name.startswith("%%"):
        assert notebook(f"{command.name} --help\nbody\n").stdout == told
    else:
        assert notebook(f"%e2b {command.name} --help").stdout == told
    assert max(map(len, told.partition("Examples:")[0].splitlines())) <= WIDTH
    read = " ".join(told.split())
    assert read.startswith(f"{command.usage} {command.summary}.")
    assert all(argument.summary in read for argument in command.arguments)
    assert all(example.splitlines()[0] in told for example in command.examples)
    assert command.examples


def test_help_names_all(notebook: Notebook) -> None:
    """`%e2b help` lists every command, by subject, and says how to hear more; no line is wider than a page's cell."""
    told = notebook("%e2b help").stdout
    assert all(command.summary in told for command in ALL)
    assert told.startswith("Commands\n  %e2b run ")
    assert "\n\nFiles\n  %e2b read " in told
    assert told.endswith("\n\n%e2b help COMMAND says more of one; so does %e2b COMMAND --help.\n")
    assert max(map(len, told.splitlines())) <= 110


def test_login_asks_for_the_key(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """`login` reads the key without echo and goes on with it; `logout` forgets it. It is shown nowhere."""
    monkeypatch.setattr(getpass, "getpass", lambda prompt: "e2b_canary")
    cell = notebook("%e2b login")
    assert cell.stdout == "From here on sandboxes are on e2b.app\n"
    assert shared_client().configuration.api_key is not None
    notebook("%e2b logout")
    assert shared_client().configuration.api_key is None


def test_a_key_that_a_cell_has_set_is_told_and_taken(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """E2B_API_KEY set after the session began is no silent matter: `%e2b` names the way, `login` takes it unasked."""
    monkeypatch.setattr(getpass, "getpass", lambda prompt: pytest.fail("the key was asked for"))
    monkeypatch.setenv("E2B_API_KEY", "")  # so that what the cell sets is taken away with the test
    assert "E2B_API_KEY" not in notebook("%e2b").stdout
    notebook("import os; os.environ['E2B_API_KEY'] = 'e2b_' + '0' * 40")
    assert "E2B_API_KEY is set, but not used: %e2b login takes it" in notebook("%e2b").stdout
    assert notebook("%e2b login").stdout == "From here on sandboxes are on e2b.app\n"
    assert "not used" not in notebook("%e2b").stdout


@pytest.mark.parametrize("refusal", [StdinNotImplementedError(), EOFError(), getpass.GetPassWarning()])
def test_login_without_a_prompt_says_what_to_do(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch, refusal: BaseException
) -> None:
    """Where nothing can be asked, or only with echo, the error names the environment variable."""

    def refuse(prompt: str) -> str:
        raise refusal

    monkeypatch.setattr(getpass, "getpass", refuse)
    cell = notebook("%e2b login")
    assert isinstance(cell.error, UsageError)
    assert "set E2B_API_KEY" in cell.stderr
