"""Projects made ready in a real sandbox: brought, brought again, cloned, installed, and how each of it fails."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.config import from_environment
from e2b_magic.embedded import runtime
from e2b_magic.exceptions import CommandTimeoutError, FileError, InvalidRequestError, RemotePathError, SetupError
from e2b_magic.project_templates import find_template
from e2b_magic.worker.protocol import Event, Output, Progress
from tests.registries import npm_registry, python_index

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module", params=["in-process", "http"])
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, start_jupyter: Callable[[], Any]
) -> Iterator[Client]:
    """Gives a client on an embedded server that the module's tests share."""
    directory = tmp_path_factory.mktemp("setup") / "e2b-magic"
    here = from_environment({"E2B_MAGIC_DIRECTORY": str(directory)})
    client = Client(here if request.param == "in-process" else start_jupyter().configuration(directory))
    yield client
    client.close()
    runtime.stop(directory / "embedded")


PROMPT_WITHIN = 2.0
"""How soon after Ctrl-C the prompt has to be back, in seconds."""


class Told:
    """Gathers what is told on the way."""

    def __init__(self) -> None:
        self.progress: list[str] = []
        self.output = ""

    def __call__(self, event: Event) -> None:
        """Takes an event."""
        if isinstance(event, Progress):
            self.progress.append(event.text)
        elif isinstance(event, Output):
            self.output += event.text


def _setup(client: Client, name: str, **options: Any) -> Told:
    told = Told()
    client.setup_project(name, on_event=told, **options)
    return told


def _run(client: Client, command: str) -> str:
    return client.execute_command(command, use_cache=False).stdout


def test_files_are_brought_and_installed(client: Client) -> None:
    """The files are there, the install command's output is told, the project is stored, current and ready."""
    told = Told()
    project = client.setup_project(
        "given",
        files={"src/app.py": "print('hi')\n", "data/x.bin": b"\x00\xff", "run.sh": "#!/bin/sh\necho ran $TOKEN\n"},
        install="./run.sh && ls",
        envs={"TOKEN": "canary-51cd"},
        port=8400,
        on_event=told,
    )
    assert told.output == "ran canary-51cd\ndata\nrun.sh\nsrc\n"
    assert "Brought 3 files to /home/user/given" in told.progress
    assert (project.state, project.source, project.path, project.port) == ("ready", "files", "/home/user/given", 8400)
    assert project.set_up_at > 0
    assert client.project == "given"
    assert client.read_file("given/data/x.bin") == b"\x00\xff"
    assert b"canary-51cd" not in client.store.kv.path.read_bytes()
    assert _run(client, "grep -rl canary-51c[d] ~/.e2b-magic | wc -l") == "0\n"


def test_a_second_time_brings_what_changed(client: Client) -> None:
    """Done again it brings what is new or other, removes what is gone, and leaves what was edited in the sandbox."""
    first = {"a": "1", "deep/b": "1", "c": "1", "d": "1", "-e": "1"}
    _setup(client, "again", files=first)
    assert "Brought 0 files to /home/user/again, 5 unchanged" in _setup(client, "again", files=first).progress
    client.write_file("again/c", "mine")
    client.write_file("again/new", "mine")
    told = _setup(client, "again", files={"a": "2", "c": "2", "d": "1", "f": "1"})
    assert "Brought 2 files to /home/user/again, 1 unchanged, removed 2" in told.progress
    assert "Left alone, since edited in the sandbox: c (force replaces them)" in told.progress
    assert _run(client, "cd again; head -v *") == (
        "==> a <==\n2\n==> c <==\nmine\n==> d <==\n1\n==> f <==\n1\n==> new <==\nmine"
    )
    _setup(client, "again", files={"a": "2", "c": "2"}, force=True)
    assert client.read_text("again/c") == "2"


def test_what_was_there_before_is_not_replaced(client: Client) -> None:
    """A file that somebody else put where the project is to go is left as it is, and named."""
    client.use_project("theirs")
    client.write_file("theirs/a", "theirs")
    told = _setup(client, "theirs", files={"a": "ours", "b": "ours"})
    assert "Left alone, since edited in the sandbox: a (force replaces them)" in told.progress
    assert client.read_text("theirs/a") == "theirs"


def test_what_an_ended_setup_left_is_no_edit(client: Client) -> None:
    """Half a file is brought again, as is one that has changed here since; what was edited after that is left alone."""
    large = random.Random(1).randbytes(16_000_000)
    files: dict[str, str | bytes] = {"a": "1", "b": "1", "large": large}
    client.use_project("half")
    end_tar = "until tar=$(pgrep -x tar); do sleep 0.01; done; until [ -s half/large ]; do :; done; kill -9 $tar"
    client.start_background(end_tar)
    with pytest.raises(FileError):
        client.setup_project("half", files=files)
    assert 0 < len(client.read_file("half/large")) < len(large)
    client.write_file("half/b", "mine")
    told = _setup(client, "half", files={**files, "a": "2"})
    assert "Left alone, since edited in the sandbox: b (force replaces them)" in told.progress
    assert client.read_file("half/large") == large
    assert _run(client, "cat half/a half/b") == "2mine"
    client.write_file("half/large", large[:100])
    told = _setup(client, "half", files=files)
    assert "Left alone, since edited in the sandbox: b, large (force replaces them)" in told.progress


def test_a_directory_is_brought(client: Client, tmp_path: Path) -> None:
    """A local directory comes with its links and modes, without what .gitignore excludes and without .git."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("x")
    (tmp_path / ".gitignore").write_text("build/\n*.log\n!keep.log\n")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "out").write_text("x")
    (tmp_path / "a.log").write_text("x")
    (tmp_path / "keep.log").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    (tmp_path / "link").symlink_to("tool")
    (tmp_path / "it's \n ü").write_text("x")
    project = client.setup_project("local", directory=tmp_path)
    assert project.source == f"directory {tmp_path.resolve()}"
    names = sorted(entry.name for entry in client.list_files("local"))
    assert names == [".gitignore", "empty", "it's \n ü", "keep.log", "link", "tool"]
    assert _run(client, "cd local; stat -c %a tool; readlink link") == "755\ntool\n"
    assert "Brought 0 files to /home/user/local, 5 unchanged" in _setup(client, "local", directory=tmp_path).progress


def test_a_repository_is_cloned_and_brought_up_to_date(client: Client) -> None:
    """The sandbox clones it; a second setup fetches what is new; another address in its place is refused."""
    client.use_project("cloned")
    make = (
        "git init -q -b main origin && cd origin && git config user.email a@b && git config user.name a &&"
        "echo 1 > file && git add file && git commit -qm one && git branch side"
    )
    _run(client, make)
    project = client.setup_project("cloned", git="/home/user/origin", install="cat file")
    assert (project.state, project.source) == ("ready", "git /home/user/origin")
    _run(client, "cd origin && echo 2 > file && git commit -qam two")
    assert _setup(client, "cloned", git="/home/user/origin", install="cat file").output == "2\n"
    assert (
        _setup(client, "cloned", git="/home/user/origin", ref="side", path="side", install="cat file").output == ("1\n")
        or client.read_text("side/file") == "1\n"
    )
    with pytest.raises(SetupError, match="git failed with exit code 1: another repository was cloned there before"):
        client.setup_project("cloned", git="/home/user/elsewhere", path="side")
    with pytest.raises(SetupError, match=r"git failed with exit code 128: .*does not exist"):
        client.setup_project("cloned", git="/home/user/elsewhere", path="other")


def test_a_failed_install_says_why(client: Client) -> None:
    """The error has the exit code and the last line; state and reason are stored, and the files are there."""
    with pytest.raises(SetupError, match="The install command failed with exit code 3: no such package"):
        client.setup_project("broken", files={"a": "1"}, install="echo trying; echo no such package >&2; exit 3")
    project = client.get_project_info("broken")
    assert (project.state, project.reason) == (
        "failed",
        "The install command failed with exit code 3: no such package",
    )
    assert client.read_text("broken/a", project="broken") == "1"
    assert client.setup_project("broken", files={"a": "1"}, install="true").path == "/home/user/broken"
    assert (client.get_project_info("broken").state, client.get_project_info("broken").reason) == ("ready", "")
    with pytest.raises(CommandTimeoutError):
        client.setup_project("broken", files={}, install="sleep 321", timeout=0.3)
    assert client.get_project_info("broken").state == "failed"


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", "a//b", "a/.", "a\0b"])
def test_no_name_leads_out(client: Client, name: str) -> None:
    """A name that is absolute, or leads out of the project's directory, is refused before anything is done."""
    with pytest.raises(InvalidRequestError):
        client.setup_project("escape", files={name: "x"})
    assert client.get_project_info("escape").created_at == 0


def test_slips_are_named(client: Client, tmp_path: Path) -> None:
    """Two sources, a missing directory, an unknown template, a password in an address: one line each."""
    for options, text in (
        ({"template": "static", "git": "x"}, "give template or git, not both"),
        ({"directory": tmp_path / "none"}, "is no directory of this machine"),
        ({"template": "rails"}, "There is no project template 'rails': there are python, node"),
        ({"git": "https://me:canary-pw@example.org/x"}, "holds a name or password"),
        ({"git": "--upload-pack=x"}, "must be a URL or a path"),
        ({"files": {"a": "1", "a/b": "2"}}, "'a/b' cannot be a file beside the others"),
        ({"files": {}, "port": 0}, "0 is no port"),
    ):
        with pytest.raises(InvalidRequestError, match=text) as caught:
            client.setup_project("slip", **options)
        assert "canary-pw" not in str(caught.value)
    client.write_file("taken", "a file", project="slip")
    with pytest.raises(RemotePathError, match="taken is a file"):
        client.setup_project("slip", files={"a": "1"}, path="taken")


@pytest.mark.parametrize("name", ["static", "python", "node"])
def test_an_offline_template_serves(client: Client, name: str) -> None:
    """A template without dependencies is set up, its tests pass where it has some, and its dev server answers."""
    if name == "node" and not _run(client, "command -v npm"):
        pytest.skip("this machine has no npm under /usr")
    project = client.setup_project(f"{name}-app", template=name)
    template = find_template(name)
    assert (project.state, project.dev, project.port) == ("ready", template.dev, template.port)
    test = {"python": "python3 -m unittest discover tests", "node": "npm test", "static": "true"}[name]
    assert client.execute_command(test, cwd=project.path, use_cache=False).ok
    job = client.start_dev_server()
    answer = _run(client, f"curl -s localhost:{job.port}")
    assert ("It works" if name == "static" else "Hello, world!") in answer
    client.stop_job(job)


# An interrupt between `open` and `with` leaves a file for the collector to close, anywhere in Python.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_moment_is_survived(client: Client) -> None:
    """Ctrl-C anywhere in a setup gives the prompt back within 2 s, leaves no process, and the next setup goes on."""
    files = {f"folder{n % 7}/file{n}": f"{n}\n" * 200 for n in range(300)}
    chance, slowest = random.Random(20), 0.0
    for _ in range(20):
        pressed: list[float] = []

        def press(into: list[float] = pressed) -> None:
            into.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Timer(chance.uniform(0, 0.6), press)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            client.setup_project("stopped", files=files, install="exec -a installing sleep 321", force=True)
        slowest = max(slowest, time.monotonic() - pressed[0])
        assert client.get_project_info("stopped").state in ("interrupted", "")
        assert _run(client, "echo next") == "next\n"
    assert slowest < PROMPT_WITHIN
    assert _run(client, "grep -la '[i]nstalling' /proc/[0-9]*/cmdline | wc -l") == "0\n"
    project = client.setup_project("stopped", files=files)
    assert project.state == "ready"
    assert _run(client, "cat stopped/folder*/* | wc -l") == f"{300 * 200}\n"
    assert _run(client, "ls -A /tmp") == ""


def _reaches(client: Client, url: str) -> bool:
    return client.execute_command(f"curl -sfo /dev/null --max-time 20 {url}", use_cache=False).ok


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_vite_project_is_installed_and_served(client: Client) -> None:
    """`vite-react` is installed from npm's registry; its page, and what an edit changes in it, is served."""
    client.use_project("vite")
    if not _run(client, "command -v npm") or not _reaches(client, f"{npm_registry()}react"):
        pytest.skip("no npm under /usr, or its registry does not answer from a sandbox")
    project = client.setup_project("vite", template="vite-react", timeout=400)
    job = client.start_dev_server(ready_within=120)
    assert '<div id="root">' in _run(client, f"curl -s localhost:{job.port}")
    assert "It works" in _run(client, f"curl -s localhost:{job.port}/src/App.jsx")
    source = client.read_text("vite/src/App.jsx")
    # Vite serves before it watches: an edit that comes while it still looks round is not noticed, ever.
    seen, deadline = "", time.monotonic() + 20
    while "It changed" not in seen and time.monotonic() < deadline:
        client.write_file("vite/src/App.jsx", source.replace("It works", "It changed"))
        seen = _run(client, f"sleep 0.2; curl -s localhost:{job.port}/src/App.jsx")
    assert "It changed" in seen
    assert project.dev == "npm run dev"
    client.stop_job(job)


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_fastapi_project_is_installed_and_served(client: Client) -> None:
    """`fastapi` is installed from Python's index, and answers."""
    client.use_project("api")
    if not _reaches(client, f"{python_index()}fastapi/"):
        pytest.skip("Python's index does not answer from a sandbox")
    client.setup_project("api", template="fastapi", timeout=400)
    job = client.start_dev_server(ready_within=120)
    assert _run(client, f"curl -s localhost:{job.port}/?name=you") == '{"message":"Hello, you!"}'
    client.stop_job(job)
