"""`%e2b run` and `%%e2b` in a real shell: what reaches the worker, what is shown, what is raised."""

from __future__ import annotations

import pickle
import time
from typing import Any

import pytest
from IPython.core.error import UsageError

from e2b_magic.client import shared_client
from e2b_magic.config import EMBEDDED
from e2b_magic.exceptions import CommandFailedError, CommandTimeoutError, E2BMagicError, SandboxGoneError
from e2b_magic.magics import streaming
from e2b_magic.records import ExecutionResult, Status
from e2b_magic.worker.caller import FakeCaller
from e2b_magic.worker.protocol import Attached, Emit, Output, Progress
from tests.magics.conftest import Notebook


@pytest.mark.parametrize(
    "command",
    [
        """git log --format='%h %s' -- "a b" | head -2; echo "it's" $HOME ${x} $(date)""",
        "awk '{print $1}' f",
        "awk '{print}' f{1,2}",
        r"printf 'a\n' \\ \$x",
        "--strange -x",
    ],
)
def test_the_command_arrives_as_it_was_written(notebook: Notebook, caller: FakeCaller, command: str) -> None:
    """Quotes, pipes, `--`, backslashes, dollars and braces pass IPython and the magic unharmed."""
    assert notebook(f"%e2b run --quiet -- {command}").error is None
    assert caller.asked[-1]["command"] == command


def test_python_values_are_put_in(notebook: Notebook, caller: FakeCaller) -> None:
    """`{expression}` and `$name` give the user's values, in options too, also inside a function."""
    notebook("who, where = 'wor  ld', '/my dir'")
    notebook("%e2b run --cwd {where} --env WHO=$who echo '{who.upper()}' $who $HOME")
    assert caller.asked[-1]["command"] == "echo 'WOR  LD' wor  ld $HOME"
    assert (caller.asked[-1]["cwd"], caller.asked[-1]["envs"]) == ("/my dir", {"WHO": "wor  ld"})
    notebook("def f(local):\n    %e2b run echo {local}\nf(7)")
    assert caller.asked[-1]["command"] == "echo 7"


def test_a_value_cannot_bring_options(notebook: Notebook, caller: FakeCaller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command from a variable is a command to its last letter, so it cannot ask for the kernel's secrets."""
    monkeypatch.setenv("SECRET", "s3cr3t")
    notebook("cmd = '--env SECRET printenv'")
    notebook("%e2b run {cmd}")
    assert (caller.asked[-1]["command"], caller.asked[-1]["envs"]) == ("--env SECRET printenv", {})


def test_options_reach_the_worker(notebook: Notebook, caller: FakeCaller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Project, directory, variables, user and timeout are those that were written."""
    monkeypatch.setenv("TOKEN", "t0ken")
    notebook("%e2b run -p web --cwd=/srv --env A=1 -e TOKEN --user root --timeout 2m true")
    asked = caller.asked[-1]
    assert asked["project_id"] == "web"
    assert asked["envs"] == {"A": "1", "TOKEN": "t0ken"}
    assert (asked["cwd"], asked["user"], asked["timeout"]) == ("/srv", "root", 120)


def test_the_value_is_the_result_and_short(notebook: Notebook) -> None:
    """The output is in the cell; the value holds it too, and shows itself in a line without it."""
    cell = notebook("%e2b run hello there")
    assert isinstance(cell.value, ExecutionResult)
    assert cell.value.stdout == "hello there\n"
    assert cell.stdout.count("hello there") == 1
    assert "success" in cell.stdout.splitlines()[-1]
    assigned = notebook("r = %e2b run hello there")
    assert assigned.stdout == "hello there\n"
    assert notebook("r.exit_code").value == 0


def test_standard_error_is_told_apart(notebook: Notebook) -> None:
    """What a command writes to standard error goes to the cell's."""
    cell = notebook("r = %e2b run complain of this")
    assert (cell.stdout, cell.stderr) == ("", "of this\n")


def test_an_equal_command_is_answered_from_the_store(notebook: Notebook, caller: FakeCaller) -> None:
    """The second time the worker is not asked, the output is the same, and the value says that it is cached."""
    first = notebook("%e2b run hello")
    second = notebook("%e2b run hello")
    assert len(caller.asked) == 1
    assert first.stdout.splitlines()[0] == second.stdout.splitlines()[0] == "hello"
    assert "cached" in repr(second.value)
    assert "cached" not in repr(first.value)
    assert (first.stderr, second.stderr) == ("", "[cached, ran a moment ago; --refresh runs it anew]\n")
    assert notebook("r = %e2b run --quiet hello").stderr == ""


def test_an_answer_tells_its_age_once(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """The age is told beside the output, also of a result that is assigned, and the result itself tells no other."""
    notebook("%e2b run hello")
    later = time.time() + 1500
    monkeypatch.setattr(time, "time", lambda: later)
    cell = notebook("r = %e2b run hello")
    assert (cell.stdout, cell.stderr) == ("hello\n", "[cached, ran 25 min ago; --refresh runs it anew]\n")
    assert notebook("repr(r)").value == "<success: exit 0, cached, default on embedded>"


@pytest.mark.parametrize("line", ["%e2b run --no-cache hello", "%e2b run --refresh hello"])
def test_a_command_can_be_run_anew(notebook: Notebook, caller: FakeCaller, line: str) -> None:
    """`--no-cache` and `--refresh` ask the worker though a result is stored."""
    notebook("%e2b run hello")
    notebook(line)
    assert len(caller.asked) == 2


def test_a_failure_is_one_line(notebook: Notebook) -> None:
    """An exit code other than 0 raises, and is shown in one line, whatever the traceback mode."""
    notebook("%xmode Verbose")
    cell = notebook("%e2b run exit 3")
    assert isinstance(cell.error, CommandFailedError)
    assert cell.error.result is not None
    assert cell.error.result.exit_code == 3
    assert cell.stdout.splitlines()[1:] == ["\x1b[31mCommandFailedError\x1b[39m: The command exited with code 3"]


def test_an_error_can_be_pickled(notebook: Notebook) -> None:
    """An error that a magic raised can travel to another process, as ipyparallel's do."""
    error = notebook("%e2b run exit 3").error
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_failure_may_be_asked_for_as_a_result(notebook: Notebook) -> None:
    """`--no-raise` gives the result, of a command that fails and of one that is killed by its timeout."""
    cell = notebook("%e2b run --no-raise exit 3")
    assert cell.error is None
    assert cell.value.exit_code == 3
    notebook("%config E2BMagics.raise_on_error = False")
    assert notebook("%e2b run exit 4").value.exit_code == 4


def test_a_timeout_is_an_error_or_a_result(notebook: Notebook, caller: FakeCaller) -> None:
    """A killed command raises its own error; with `--no-raise` its record is the value, partial output included."""

    async def too_long(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        await emit(Output("stdout", "half"))
        raise CommandTimeoutError("The command ran longer than 1 s and was killed")

    caller.answers["execute_command"] = too_long
    cell = notebook("%e2b run --timeout 1 x")
    assert isinstance(cell.error, CommandTimeoutError)
    assert cell.stdout.startswith("half")
    value = notebook("%e2b run --timeout 1 --no-raise x").value
    assert (value.status, value.stdout) == (Status.TIMEOUT, "half")


def test_a_lost_sandbox_is_never_silent(notebook: Notebook, caller: FakeCaller) -> None:
    """What is no failure of the command raises even with `--no-raise`."""

    async def gone(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        raise SandboxGoneError("The sandbox ended while the command ran; its files are lost")

    caller.answers["execute_command"] = gone
    cell = notebook("%e2b run --no-raise x")
    assert isinstance(cell.error, SandboxGoneError)
    assert len(cell.stdout.splitlines()) == 1


def test_quiet_shows_nothing(notebook: Notebook) -> None:
    """`--quiet` keeps the output in the result alone."""
    cell = notebook("r = %e2b run --quiet hello")
    assert (cell.stdout, cell.stderr) == ("", "")
    assert notebook("r.stdout").value == "hello\n"


def test_a_quiet_failure_tells_why(notebook: Notebook, caller: FakeCaller) -> None:
    """What `--quiet` has shown to nobody ends in the error, with the way to the rest; variables are set even so."""

    async def fails(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        await emit(Output("stderr", "Traceback:\nValueError: no \x1b[31msuch\x1b[0m column\n\n"))
        return {"exit_code": 1, "stdout": "", "stderr": "", "truncated": False}

    caller.answers["execute_command"] = fails
    told = "The command exited with code 1: ValueError: no such column (%e2b show has all that it wrote)"
    cell = notebook("%e2b run --quiet --err said x")
    assert isinstance(cell.error, CommandFailedError)
    assert str(cell.error) == told
    assert notebook("said").value.startswith("Traceback:")
    assert str(notebook("%e2b run x").error) == "The command exited with code 1"
    assert notebook("%e2b run --quiet --no-raise x").error is None


def test_a_script_is_run_as_it_stands(notebook: Notebook, caller: FakeCaller) -> None:
    """A cell reaches bash to the letter: no brace and no dollar is expanded."""
    notebook("x = 1")
    script = "for x in a b; do\n  echo {x} $x '$x'\ndone\n"
    assert notebook(f"%%e2b --project web\n{script}").error is None
    assert (caller.asked[-1]["command"], caller.asked[-1]["project_id"]) == (script, "web")


def test_a_script_may_be_for_another_program(notebook: Notebook, caller: FakeCaller) -> None:
    """`--with` gives the script to a program's input, quoted for the shell."""
    notebook("%%e2b --with 'python3 -u'\nprint('it\\'s')\n")
    assert caller.asked[-1]["command"] == """python3 -u <<< 'print('"'"'it\\'"'"'s'"'"')\n'"""


def test_a_script_that_grows_by_quoting_goes_through_a_file(notebook: Notebook, caller: FakeCaller) -> None:
    """What counts is the command's length: every quote of a script takes five characters in it."""
    notebook("%%e2b --with python3\n" + "'" * 30_000 + "\n")
    assert [asked["type"] for asked in caller.asked] == ["write_file", "execute_command"]


@pytest.mark.parametrize(
    ("options", "run"), [("", "exec bash /dev/fd/9; } 9<"), ("--with python3", "exec python3; } <")]
)
def test_a_long_script_goes_through_a_file(notebook: Notebook, caller: FakeCaller, options: str, run: str) -> None:
    """A script longer than a command may be is written to a file, which is removed before it runs."""
    notebook(f"%%e2b {options}\n" + "true\n" * 30_000)
    written, executed = caller.asked[-2:]
    assert written["content"] == "true\n" * 30_000
    assert executed["command"] == f"{{ rm -f {written['path']}; {run} {written['path']}"


def test_a_long_command_goes_through_a_file(notebook: Notebook, caller: FakeCaller) -> None:
    """What is longer than one argument may be arrives all the same, a value put into the line included."""
    notebook("big = 'x' * 140_000\n%e2b run echo {big} | wc -c")
    assert [asked["type"] for asked in caller.asked] == ["write_file", "execute_command"]
    assert caller.asked[0]["content"] == f"echo {'x' * 140_000} | wc -c"


@pytest.mark.parametrize(
    ("command", "refused"),
    [
        ("sleep 300 &", True),
        ("make && ./server& ", True),
        ("sleep 300 > log 2>&1 &", False),
        ("true &&", False),
        (r"echo a \&", False),
        ("server & curl localhost", False),
    ],
)
def test_a_command_that_would_hold_the_cell_is_refused(
    notebook: Notebook, caller: FakeCaller, command: str, refused: bool
) -> None:
    """What `&` would leave running, with the cell's output in its hands, is refused, and `--bg` is named."""
    cell = notebook(f"%e2b run {command}")
    assert ("%e2b run --bg" in cell.stderr) is refused
    assert bool(caller.asked) is not refused


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("cd /tmp", "[what cd changes ends with this command's shell: use --cwd DIR]\n"),
        ("export A=1", "[what export changes ends with this command's shell: use --env NAME=VALUE]\n"),
        (
            "source venv/bin/activate",
            "[what source changes ends with this command's shell: use source … && COMMAND, or a %%e2b cell]\n",
        ),
        ("cd /tmp && ls", ""),
        ("cdparanoia x", ""),
    ],
)
def test_what_ends_with_the_shell_is_told(notebook: Notebook, caller: FakeCaller, command: str, told: str) -> None:
    """A line that only changes its own shell, as `!cd` does, runs, and says what does what was meant."""
    assert notebook(f"r = %e2b run {command}").stderr == told
    assert caller.asked[-1]["command"] == command


def test_half_a_character_is_one_line(notebook: Notebook, caller: FakeCaller) -> None:
    """Text that no UTF-8 can hold is refused like any other slip, and nothing runs."""
    cell = notebook("get_ipython().run_cell_magic('e2b', '', 'echo \\ud800')")
    assert cell.stdout.splitlines() == [
        "\x1b[31mInvalidRequestError\x1b[39m: The command holds half a character (a lone surrogate) at 5"
    ]
    assert caller.asked == []


def test_a_cell_takes_options_only(notebook: Notebook) -> None:
    """Words on the cell magic's line are refused, since the script is the cell."""
    cell = notebook("%%e2b run\nls\n")
    assert isinstance(cell.error, UsageError)
    assert cell.stderr.startswith("UsageError: %%e2b does not take 'run': it runs the cell below")


def test_settings_are_configurable(notebook: Notebook, caller: FakeCaller) -> None:
    """`%config E2BMagics` sets cache, timeout and project for every command after it."""
    notebook("%config E2BMagics.cache = False")
    notebook("%config E2BMagics.timeout = 7.5")
    notebook("%config E2BMagics.project = 'web'")
    notebook("%e2b run hello")
    notebook("%e2b run --timeout 1 hello")
    assert [asked["timeout"] for asked in caller.asked] == [7.5, 1]
    assert {asked["project_id"] for asked in caller.asked} == {"web"}


@pytest.mark.parametrize(
    ("setting", "told"), [("project = '../x'", "cannot name a project"), ("timeout = -1", "seconds above 0")]
)
def test_a_setting_that_cannot_be_is_refused(
    notebook: Notebook, caplog: pytest.LogCaptureFixture, setting: str, told: str
) -> None:
    """A bad value is told in one line, which traitlets logs, and changes nothing."""
    notebook(f"%config E2BMagics.{setting}")
    (line,) = caplog.messages
    assert told in line
    assert shared_client().project == "default"
    assert notebook("%config E2BMagics.timeout").value is None


def test_progress_is_a_dim_line(notebook: Notebook, caller: FakeCaller) -> None:
    """What e2b-magic itself has to say is a line of its own on standard error, not mixed into the output."""

    async def answer(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        await emit(Output("stderr", "no line end"))
        await emit(Progress("a new sandbox is used"))
        return {"exit_code": 0}

    caller.answers["execute_command"] = answer
    assert notebook("r = %e2b run x").stderr == "no line end\na new sandbox is used\n"


def test_long_output_is_bounded(notebook: Notebook, caller: FakeCaller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell shows the beginning as it comes and the end when it is over; the middle is counted, not shown."""
    monkeypatch.setattr(streaming, "SHOWN", 1000)
    monkeypatch.setattr(streaming, "AFTER", 100)

    async def chatter(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        for number in range(1000):
            await emit(Output("stdout", f"line {number}\n"))
        return {"exit_code": 0}

    caller.answers["execute_command"] = chatter
    cell = notebook("r = %e2b run x")
    assert cell.stdout.startswith("line 0\nline 1\n")
    assert cell.stdout.endswith("line 999\n")
    assert "characters left out" in cell.stdout
    assert len(cell.stdout) < 1400
    assert notebook("r.stdout.count('line')").value == 1000


def test_output_cannot_steer_the_terminal(notebook: Notebook, caller: FakeCaller) -> None:
    """Escape sequences other than colours stay in the record and out of the cell."""

    async def hostile(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        await emit(Attached("sandbox1", EMBEDDED, time.time() + 3600, created=True))
        await emit(Output("stdout", "\x1b]52;c;cm0"))
        await emit(Output("stdout", "gLXJm\x07\x1b[32mok\x1b[0m\n"))
        return {"exit_code": 0}

    caller.answers["execute_command"] = hostile
    assert notebook("r = %e2b run x").stdout == "\x1b[32mok\x1b[0m\n"
    assert "\x1b]52" in notebook("r.stdout").value


def test_secrets_are_in_no_text(notebook: Notebook) -> None:
    """A variable's value is in no error, record, history or repr."""
    told = [
        notebook("%e2b run --env TOKEN=canary-1 exit 3"),
        notebook("%e2b run --env 2TOKEN=canary-1 true"),
        notebook("%e2b run --env =canary-1 true"),
        notebook("%e2b run --env TOKEN=canary-1 --nope true"),
        notebook("%e2b show"),
        notebook("%e2b history"),
    ]
    for cell in told:
        shown = cell.stdout + cell.stderr + repr(cell.value) + repr(cell.error)
        assert "canary" not in shown
    error = told[0].error
    assert isinstance(error, E2BMagicError)
    assert error.result is not None
    assert error.result.env_names == ("TOKEN",)


def test_secrets_are_in_no_verbose_traceback(
    notebook: Notebook, caller: FakeCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of our own making, shown with the variables of every frame, does not show a variable's value."""

    async def broken(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        raise RuntimeError("our own mistake")

    caller.answers["execute_command"] = broken
    monkeypatch.setenv("TOKEN", "canary-1")
    notebook("%xmode Verbose")
    cell = notebook("%e2b run --env TOKEN true")
    assert isinstance(cell.error, RuntimeError)
    assert "envs" in cell.stdout
    assert "canary" not in cell.stdout


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("%e2b rum ls", "Unknown subcommand 'rum': did you mean rm or run?"),
        ("%e2b pip install x", "Unknown subcommand 'pip': to run it in the sandbox write %e2b run pip install x"),
        ("%e2b --quiet ls", "%e2b takes a subcommand before --quiet: %e2b help lists them"),
        ("%e2b cache clera", "Unknown subcommand 'cache clera': did you mean cache clear?\n"),
        ("%e2b cache zzzzzzzz", "Unknown subcommand 'cache zzzzzzzz': there are cache show, cache clear\n"),
        ("%e2b run", "%e2b run needs a command: %e2b run [--project NAME]"),
        ("%e2b run --quiet", "%e2b run needs a command"),
        ("%e2b run --quite ls", "%e2b run has no option --quite: did you mean --quiet?; see %e2b run --help"),
        ("%e2b run --cwd", "%e2b run: argument --cwd: expected one argument; see %e2b run --help"),
        ("%e2b run --timeout soon ls", "'soon' is no time span: write seconds, or 30s, 5m, 2h, 3d"),
        ("%e2b run --env NOT_SET_ANYWHERE ls", "nor set in this kernel's environment"),
        ("%e2b run --cwd 'a ls", "%e2b run: A ' is not closed"),
        ("%e2b read", "%e2b read: the following arguments are required: PATH; see %e2b read --help"),
        ("%e2b ls a b", "%e2b ls does not take 'b': %e2b ls [--all] [--project NAME] [--user USER] [PATH]"),
        ("%e2b history --status good", "invalid choice: 'good'"),
        ("%e2b history --limit none", "'none' is no number of 1 or more"),
        ("%e2b help rum", "Unknown subcommand 'rum': did you mean rm or run?"),
    ],
)
def test_a_slip_is_told_in_one_line(notebook: Notebook, caller: FakeCaller, line: str, told: str) -> None:
    """Each slip on the line is one UsageError that says what would be right, and nothing is run."""
    cell = notebook(line)
    assert isinstance(cell.error, UsageError)
    assert told in cell.stderr
    assert len(cell.stderr.splitlines()) == 1
    assert caller.asked == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("%e2b run --project ../x ls", "'../x' cannot name a project"),
        ("%e2b use ../x", "'../x' cannot name a project"),
        ("%e2b run --timeout 0 ls", "timeout must be a number of seconds above 0"),
        ("%e2b show ffff", "'ffff' is not in the history: %e2b history --all lists what is"),
    ],
)
def test_a_refused_request_is_told_in_one_line(notebook: Notebook, line: str, told: str) -> None:
    """What the client refuses is shown in one line, without a traceback."""
    cell = notebook(line)
    assert isinstance(cell.error, E2BMagicError)
    assert told in cell.stdout
    assert len(cell.stdout.splitlines()) == 1
