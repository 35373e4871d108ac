"""Background jobs and dev servers by way of the magics, in a real shell over a real sandbox."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from e2b_magic import magics
from e2b_magic.client import Client
from e2b_magic.exceptions import CommandFailedError, InvalidRequestError
from e2b_magic.magics.servers import PreviewFrame
from e2b_magic.records import BackgroundJob, JobState, Preview
from tests.magics.conftest import Cell, Notebook, served_client, shown_as

DEADLINE = 30
"""How long a busy machine may take to do what takes a moment, in seconds."""


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


def shown(cell: Cell) -> str:
    """Gives what a cell shows of its value, when it shows nothing else."""
    match = re.fullmatch(r"Out\[\d+\]: (.*)\n", cell.stdout)
    assert match, cell.stdout
    return match[1]


@pytest.mark.sandbox
def test_a_command_goes_to_the_background(notebook: Notebook) -> None:
    """`--bg` gives a job at once, and no word beside it; its log, its end and its place in the list are there."""
    notebook("word = 'thon'")
    cell = notebook("job = %e2b run --bg echo from {'py' + word}; sleep 0.2; exit 3")
    assert (cell.error, cell.stdout) == (None, "")
    job = notebook("job").value
    assert isinstance(job, BackgroundJob)
    with pytest.raises(CommandFailedError, match=f"Job {job.id} .* exited with code 3 after"):
        raise notebook(f"%e2b wait {job.id}").error or AssertionError
    assert notebook(f"job = %e2b logs {job.id}").stdout == "from python\n"
    assert notebook("%e2b wait --no-raise").value.exit_code == 3
    table = notebook("%e2b jobs").value
    assert table[0].id == job.id
    assert "exited with code 3" in shown_as(table)


@pytest.mark.sandbox
def test_a_job_is_told_of_once(notebook: Notebook) -> None:
    """What starts, ends or awaits a job shows one line, with the ways on while it runs; none in a variable's place."""
    started = notebook("%e2b run --bg sleep 4321")
    job = started.value.id
    ways = f"%e2b logs -f {job} follows it, %e2b stop {job} ends it"
    assert shown(started) == f"Job {job} (sleep 4321) running: {ways}"
    for line in (f"%e2b stop {job}", f"%e2b wait --no-raise {job}"):
        assert re.fullmatch(rf"Job {job} \(sleep 4321\) stopped after \d+ s", shown(notebook(line)))
        assert notebook(f"job = {line}").stdout == ""
    assert shown(notebook("[job]")) == f"[<job {job}: stopped, default>]"


@pytest.mark.sandbox
def test_a_job_in_a_variable_is_shown_as_it_ended(notebook: Notebook) -> None:
    """A job that was kept while it ran is shown as it ended, once this kernel has seen that."""
    notebook("kept = %e2b run --bg sleep 4321")
    assert "(sleep 4321) running" in shown(notebook("kept"))
    notebook("ended = %e2b stop")
    assert re.search(r"\(sleep 4321\) stopped after \d+ s$", shown(notebook("kept")))


@pytest.mark.sandbox
def test_a_cell_goes_to_the_background(notebook: Notebook) -> None:
    """A whole script runs as a job, also by another program."""
    notebook("%%e2b --bg --quiet --with python3\nfor n in range(3):\n    print(n * n)\n")
    assert notebook("job = %e2b logs -f").stdout == "0\n1\n4\n"


@pytest.mark.sandbox
def test_the_next_prompt_tells_of_an_end(notebook: Notebook) -> None:
    """After whatever cell comes next, a job that has ended is told of in one line, once."""
    job = notebook("%e2b run --bg sleep 0.1; exit 4").value
    deadline = time.monotonic() + DEADLINE
    while not (told := notebook("n = 1 + 1").stdout):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert told.startswith(f"Job {job.id} (sleep 0.1; exit 4) exited with code 4 after ")
    assert told.count("\n") == 1
    assert notebook("n = 1 + 1").stdout == ""


@pytest.mark.sandbox
def test_a_kernel_that_was_restarted_tells_of_an_end(notebook: Notebook, client: Client) -> None:
    """What an earlier session left running, and has ended since, is told of once the magics are used again."""
    earlier = Client(client.configuration)
    job = earlier.start_background("sleep 0.1; exit 5", project="restarted")
    earlier.close()
    told = notebook("%e2b use restarted").stdout
    deadline = time.monotonic() + DEADLINE
    while f"Job {job.id} (sleep 0.1; exit 5) exited with code 5 after " not in told:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        told += notebook("n = 1 + 1").stdout
    assert told.count("exited with code 5") == 1
    notebook("%e2b use default")


@pytest.mark.sandbox
def test_a_lost_job_is_no_success(notebook: Notebook) -> None:
    """To wait for a job whose sandbox was killed is an error, so that "Run all" does not go on as if it were done."""
    job = notebook("%e2b run -p lost --bg sleep 4321").value
    notebook("%e2b kill lost")
    error = notebook(f"%e2b wait {job.id}").error
    assert isinstance(error, CommandFailedError)
    assert re.match(rf"Job {job.id} \(sleep 4321\) lost.*: its sandbox ended", str(error))
    assert notebook(f"%e2b wait --no-raise {job.id}").value.state is JobState.LOST


@pytest.mark.sandbox
def test_a_server_is_started_shown_and_stopped(notebook: Notebook) -> None:
    """`dev` waits for the port, `preview` shows it, `logs` has what it wrote, `stop` ends it by its port."""
    notebook("%%e2b_file site/index.html\n<p>hello</p>\n")
    cell = notebook("%e2b dev --quiet --port 8200 --cwd site python3 -m http.server $PORT --bind 127.0.0.1")
    assert cell.error is None
    job = f"Job {cell.value.id} (python3 -m http.server $PORT --bind 127.0.0.1) running on port 8200: {cell.value.url}"
    assert shown(cell) == f"{job} (%e2b preview 8200 shows it, %e2b stop {cell.value.id} ends it)"
    assert notebook("r = %e2b run --no-cache curl -s localhost:8200").stdout == "<p>hello</p>\n"
    frame = notebook("%e2b preview").value
    assert frame.url == cell.value.url
    assert shown_as(frame) == frame.url
    assert f'<iframe src="{frame.url}" sandbox="' in frame._repr_html_()
    assert "GET / HTTP" in notebook("%e2b logs").stdout
    assert notebook("%e2b stop 8200").value.state is JobState.STOPPED
    assert "nothing answers on port 8200" in shown_as(notebook("%e2b preview").value)


@pytest.mark.sandbox
def test_a_setup_is_handed_a_variable_by_its_name(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """`setup --env NAME` hands on the notebook's text or the environment's, as `run` does."""
    monkeypatch.setenv("OUR_TOKEN", "of the environment")
    notebook("word = 'of the notebook'")
    cell = notebook("%e2b setup named --template static --env OUR_TOKEN --env word --install 'echo $OUR_TOKEN, $word'")
    assert "of the environment, of the notebook" in cell.stdout
    notebook("%e2b use default")


@pytest.mark.sandbox
def test_following_is_interrupted_without_an_error(
    notebook: Notebook, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends `logs -f` with a word and no error, so that the cells below go on; the job does, too."""
    job = notebook("%e2b run --bg --quiet sleep 4321").value

    def interrupted(*arguments: object, **options: object) -> BackgroundJob:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(client, "follow_log", interrupted)
        cell = notebook(f"%e2b logs -f {job.id}")
    assert cell.error is None
    assert "the job goes on" in cell.stdout
    assert notebook(f"%e2b stop {job.id}").value.state is JobState.STOPPED


@pytest.mark.sandbox
def test_slips_are_one_line(notebook: Notebook) -> None:
    """Options that mean nothing for a job, an unknown one, an impossible port: each is named."""
    slips = {
        "%e2b run --bg --timeout 5 ls": (UsageError, "--timeout does not go with --bg"),
        "%e2b run --bg --refresh ls": (UsageError, "--refresh does not go with --bg"),
        "%e2b logs zzzz": (InvalidRequestError, "'zzzz' is no job of project 'default'"),
        "%e2b dev --port 99999 ls": (UsageError, "'99999' is no port"),
        "%e2b dev --port 49983 ls": (InvalidRequestError, "49983 is no port for a server"),
        "%e2b preview -p portless": (InvalidRequestError, "as in %e2b dev --port 8000, or %e2b preview 8000"),
        "%e2b preview --height 0": (UsageError, "'0' is no number of 1 or more"),
        "%e2b logs -n 0": (UsageError, "is no number of 1 or more"),
    }
    notebook("%e2b run --bg --quiet true")
    for line, (kind, text) in slips.items():
        error = notebook(line).error
        assert isinstance(error, kind), line
        assert text in str(error)


def test_a_page_is_escaped_and_confined() -> None:
    """An address is never read as HTML; a page on the Jupyter server's own origin may not be of that origin."""
    own = PreviewFrame(Preview(project="web", port=80, url='http://x"><script>', open=True))
    assert "<script>" not in own._repr_html_()
    assert "allow-same-origin" in own._repr_html_()
    route = PreviewFrame(Preview(project="web", port=80, url="/e2b-magic/preview/web/80/", open=True))
    assert "allow-same-origin" not in route._repr_html_()
    assert str(route) == "/e2b-magic/preview/web/80/"


def test_loading_twice_announces_once(shell: InteractiveShell) -> None:
    """However often the extension is loaded, one hook looks for finished jobs, and none after it is unloaded."""
    before = len(shell.events.callbacks["post_run_cell"])
    magics.load(shell)
    magics.load(shell)
    assert len(shell.events.callbacks["post_run_cell"]) == before + 1
    magics.unload(shell)
    assert len(shell.events.callbacks["post_run_cell"]) == before
