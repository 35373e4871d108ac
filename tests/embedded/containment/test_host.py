"""The host as a sandbox sees it: not at all. Each thing is there, and is reached as soon as its guard is gone."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from e2b import Sandbox

from e2b_magic.embedded.containment import launcher as launcher_module
from e2b_magic.embedded.sandbox.preflight import Report

from .conftest import Boxes, tried
from .doors import OWN_USER_ID

pytestmark = pytest.mark.sandbox


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """Gives a directory of the host's that everybody may read and write, and whose path everybody may follow."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="e2b-magic-open-") as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Gives a TCP listener on the host's loopback, which answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_the_hosts_loopback_is_out_of_reach(listener: socket.socket, contained: Sandbox, boxes: Boxes) -> None:
    """A live listener on the host's loopback refuses a sandbox; it would not, without the network namespace."""
    probe = f"print(tried(lambda: socket.create_connection({listener.getsockname()}, 2)))"
    assert tried(contained, probe) == "ECONNREFUSED"
    assert tried(boxes.without("network namespace"), probe) == "done"


def test_abstract_sockets_are_out_of_reach(contained: Sandbox, boxes: Boxes) -> None:
    """An abstract socket of the host's, which no file permission guards, is not there inside."""
    name = f"\0e2b-magic-{secrets.token_hex(8)}"
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(name)
        server.listen()
        probe = f"print(tried(lambda: socket.socket(socket.AF_UNIX).connect({name!r})))"
        assert tried(contained, probe) == "ECONNREFUSED"
        assert tried(boxes.without("network namespace"), probe) == "done"


def test_sockets_with_a_path_are_out_of_reach(
    open_to_all: Path, contained: Sandbox, boxes: Boxes, also: Callable[..., None]
) -> None:
    """A socket of the host's that has a path, open to all, is not there inside; where it is shown it can be used."""
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(open_to_all / "socket"))
        (open_to_all / "socket").chmod(0o777)
        server.listen()
        probe = "print(tried(lambda: socket.socket(socket.AF_UNIX).connect({!r})))"
        assert tried(contained, probe.format(str(open_to_all / "socket"))) == "ENOENT"
        also("--ro-bind", str(open_to_all / "socket"), "/opt/socket")
        assert tried(boxes.new(), probe.format("/opt/socket")) == "done"


def test_shared_memory_of_the_host_is_out_of_reach(contained: Sandbox, boxes: Boxes) -> None:
    """A System V segment of the host's, open to all, is not there inside."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = secrets.randbelow(2**30) + 1
    segment = libc.shmget(key, 4096, 0o1666)
    assert segment >= 0
    try:
        probe = f"print(told(libc.shmget({key}, 4096, 0o666)))"
        assert tried(contained, probe) == "ENOENT"
        assert tried(boxes.without("ipc namespace"), probe) == "done"
    finally:
        libc.shmctl(segment, 0, None)


def test_the_agent_cannot_be_killed(boxes: Boxes) -> None:
    """No signal from inside ends the agent, an interrupt included; were it not the first process, it would end."""
    sandbox = boxes.new()
    sandbox.commands.run("for s in $(seq 1 64); do kill -$s $PPID 2>/dev/null; done; true")
    assert sandbox.commands.run("kill -9 -1; echo alive").stdout == "alive\n"
    mortal = boxes.new("process namespace")
    with suppress(Exception):  # what it told of its own end is cut off
        mortal.commands.run("kill -9 $PPID; sleep 1")
    deadline = time.monotonic() + 20
    while mortal.is_running():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[dict[str, Any]], None]], None]:
    """Gives a function that changes how bubblewrap is started, for the sandboxes started from then on."""

    def start_with(change: Callable[[dict[str, Any]], None]) -> None:
        def popen(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
            change(options)
            return subprocess.Popen(*words, **options)

        changed = SimpleNamespace(**{**vars(subprocess), "Popen": popen})
        monkeypatch.setattr(launcher_module, "subprocess", changed)

    return start_with


def test_nothing_of_the_servers_environment_or_paths_shows(
    monkeypatch: pytest.MonkeyPatch, boxes: Boxes, careless: Callable[..., None]
) -> None:
    """No environment and no command line inside holds what the server's hold, even where the agent's can be read."""
    canary = secrets.token_hex(16)
    monkeypatch.setenv("E2B_API_KEY_OF_THE_HOST", canary)
    look = "cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'"
    shown = boxes.new("undumpable").commands.run(look).stdout
    assert "agent.pyc" in shown
    assert canary not in shown
    assert str(boxes.directory) not in shown
    assert str(Path(__file__).parents[3]) not in shown
    # Two walls stand here: bubblewrap is started with nothing, and told to pass nothing on.
    careless(lambda options: options.update(env=dict(os.environ)))
    assert canary not in boxes.new("undumpable").commands.run(look).stdout
    assert canary in boxes.new("undumpable", "environment").commands.run(look).stdout


def test_only_pipes_and_sockets_go_in(boxes: Boxes, careless: Callable[..., None], tmp_path: Path) -> None:
    """The agent holds no descriptor of a file or directory of the host's; one that it did would be a door."""
    look = "for f in /proc/1/fd/*; do readlink $f; done; true"
    found = boxes.new("undumpable").commands.run(look).stdout
    kinds = {line.split(":")[0] for line in found.splitlines()}
    # Its own score it has opened inside.
    assert kinds <= {"socket", "pipe", "anon_inode", "/dev/null", "/proc/1/oom_score_adj"}, found
    (tmp_path / "secret").write_text("of the host")
    descriptor = os.open(tmp_path / "secret", os.O_RDONLY)
    try:
        careless(lambda options: options["pass_fds"].append(descriptor))
        sandbox = boxes.new("undumpable")
        assert "secret" in sandbox.commands.run(look).stdout
        assert sandbox.commands.run(f"cat /proc/1/fd/{descriptor}").stdout == "of the host"
    finally:
        os.close(descriptor)


def test_a_command_inherits_three_streams_alone(contained: Sandbox) -> None:
    """A command has its three streams, and no descriptor of the agent's."""
    # The fourth is the listing's own.
    assert tried(contained, "print(os.listdir('/proc/self/fd'))") == "['0', '1', '2', '3']"


def test_the_hosts_system_files_stay_as_they_are(report: Report, contained: Sandbox) -> None:
    """What a sandbox writes to /usr is its own, or refused; the host's /usr never changes."""
    name = f"e2b-magic-{secrets.token_hex(8)}"
    told = contained.commands.run(f"touch /usr/bin/{name} && rm /usr/bin/env && ls /usr/bin/{name}; echo $?")
    assert (told.stdout.splitlines()[-1] == "0") == report.overlay
    on_host = {path.name for path in Path("/usr/bin").iterdir()}
    assert name not in on_host
    assert "env" in on_host


def test_what_is_shown_of_the_host_is_read_only(open_to_all: Path, boxes: Boxes, also: Callable[..., None]) -> None:
    """A directory of the host's is shown read-only, as /usr is without a layer; shown otherwise it could be written."""
    also("--ro-bind", str(open_to_all), "/opt/shown", "--bind", str(open_to_all), "/opt/open")
    sandbox = boxes.new()
    told = sandbox.commands.run("touch /opt/shown/shown 2>&1; touch /opt/open/open; true").stdout
    assert "Read-only file system" in told
    assert [path.name for path in open_to_all.iterdir()] == ["open"]


def _host_ids(sandbox: Sandbox) -> set[int]:
    """Gives every user and group id that a process inside has outside."""
    mark = f"{secrets.randbelow(10**6) + 10**6}"
    handle = sandbox.commands.run(f"exec sleep {mark}", background=True)
    deadline = time.monotonic() + 10
    while not (found := [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", mark]]):
        assert time.monotonic() < deadline
    status = Path(f"/proc/{found[0].pid}/status").read_text()
    handle.kill()
    lines = [line.split()[1:] for line in status.splitlines() if line.startswith(("Uid:", "Gid:", "Groups:"))]
    return {int(number) for line in lines for number in line}


@pytest.mark.root("an ordinary user has no other id to run as")
def test_roots_sandboxes_are_not_root(contained: Sandbox, options: dict[str, Any], boxes: Boxes) -> None:
    """Under root's server a sandbox is, to the host, an unprivileged user of its own; but for that, it is root."""
    other = Sandbox.create(**options)
    first, second = _host_ids(contained), _host_ids(other)
    assert len(first) == len(second) == 1
    assert first != second
    assert min(first | second) >= 30_000
    assert _host_ids(boxes.without(OWN_USER_ID)) == {0}
    other.kill()


def test_another_sandboxs_files_and_processes_are_out_of_reach(contained: Sandbox, options: dict[str, Any]) -> None:
    """Two sandboxes share neither files nor processes."""
    with Sandbox.create(**options) as other:
        other.commands.run("echo mine > /tmp/mine; echo mine > ~/mine; cp /bin/sleep /tmp/dozing")
        other.commands.run("/tmp/dozing 60", background=True)
        look = "cat /proc/[0-9]*/comm 2>&- | grep -c dozing"
        other.commands.run(f"until {look}; do sleep 0.05; done", timeout=30)
        told = contained.commands.run(f"ls /tmp ~; {look}; true").stdout
    assert "mine" not in told
    assert told.endswith("0\n")


def test_links_that_a_sandbox_left_lead_nowhere(
    open_to_all: Path, boxes: Boxes, report: Report, also: Callable[..., None]
) -> None:
    """Started again on files that hold planted links, nothing is mounted along them (GHSA-pxhw-h44j-8pfx)."""
    target = open_to_all
    sandbox = boxes.new()
    sandbox.commands.run(f"rm -rf .cache .config; ln -s {target} .cache; ln -s / .config; ln -s {target} /tmp/t")
    sandbox.pause(mode="filesystem")
    sandbox.connect()
    told = sandbox.commands.run("touch .cache/x /tmp/t/x 2>&1; ls .config/; cat .config/etc/shadow 2>&1; true").stdout
    assert list(target.iterdir()) == []
    assert told.count("No such file") == 3
    if tuple(map(int, report.version.split("."))) > (0, 11, 0):
        return  # later ones see to it themselves
    # While it mounts, bubblewrap has the host's root here; and a destination beneath what a sandbox writes, as no rule
    # of ours has, is looked up along the link.
    sandbox.commands.run(f"ln -sfn /oldroot{target} .cache")
    sandbox.pause(mode="filesystem")
    also("--dir", "/home/user/.cache/pip", last=True)
    sandbox.connect()
    assert [path.name for path in target.iterdir()] == ["pip"]


def test_a_signal_to_the_server_from_inside_reaches_nobody(contained: Sandbox) -> None:
    """The numbers of the host's processes mean nothing inside, the server's own and its group's neither."""
    for pid in (os.getpid(), os.getppid(), -os.getpgid(0)):
        probe = f"print(tried(lambda: os.kill({pid}, {int(signal.SIGKILL)})))"
        assert tried(contained, probe) == "ESRCH"
