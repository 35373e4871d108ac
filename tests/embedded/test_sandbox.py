"""A sandbox as the daemon uses it: its processes, their streams and terminals, its files, its ports, its end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.sandbox.channel import Channel
from e2b_magic.embedded.sandbox.sandbox import AgentError, ExitStatus, Sandbox
from e2b_magic.exceptions import ConfigurationError

pytestmark = pytest.mark.sandbox

Start = Callable[..., Awaitable[Sandbox]]
Read = Callable[[int], Awaitable[bytes]]


async def _code(asked: Awaitable[Any]) -> str:
    """Gives the code of the error that something ends with."""
    with pytest.raises(AgentError) as raised:
        await asked
    return raised.value.code


async def test_output_and_error_come_apart(sandbox: Sandbox, run: Any) -> None:
    """A process's two outputs come on two descriptors, and its exit code by itself."""
    ran = await run(sandbox, "echo out; echo error >&2; exit 3")
    assert (ran.out, ran.error, ran.status) == ("out\n", "error\n", ExitStatus(3, None))


async def test_a_signal_is_told_from_a_code(sandbox: Sandbox) -> None:
    """A process that a signal ended has no exit code, and the signal hits it alone, not its children."""
    process = await sandbox.spawn(argv=["sleep", "60"], envs={}, cwd=None, user="user", stdin=False)
    await sandbox.signal(process.pid, signal.SIGTERM)
    assert await process.exited == ExitStatus(None, signal.SIGTERM)
    assert await _code(sandbox.signal(process.pid, signal.SIGTERM)) == "not_found"
    process.close()


async def test_input_reaches_a_process(sandbox: Sandbox, read: Read) -> None:
    """What is written to a process's input it reads, to the end that closing makes."""
    process = await sandbox.spawn(argv=["cat"], envs={}, cwd=None, user="user", stdin=True)
    assert process.stdin is not None
    os.write(process.stdin, b"hello")
    os.close(process.stdin)
    process.stdin = None
    assert await read(process.stdout) == b"hello"
    assert await process.exited == ExitStatus(0, None)
    process.close()


async def test_the_environment_is_layered(start: Start, run: Any) -> None:
    """Defaults yield to the sandbox's variables and those to the command's, but a sandbox's name is its own."""
    sandbox = await start(envs={"A": "sandbox", "B": "sandbox", "E2B_SANDBOX_ID": "forged", "HOME": "/tmp"})
    ran = await run(sandbox, "echo $A $B $E2B_SANDBOX $E2B_SANDBOX_ID $HOME $USER $LOGNAME", envs={"B": "command"})
    assert ran.out == f"sandbox command true {sandbox.sandbox_id} /tmp user user\n"


@pytest.mark.parametrize(
    ("cwd", "user", "shown"),
    [(None, "user", "/home/user"), ("~", "root", "/root"), ("a/..", "user", "/home/user"), ("/tmp", "", "/tmp")],
)
async def test_where_a_process_starts(cwd: str | None, user: str, shown: str, sandbox: Sandbox, run: Any) -> None:
    """A process starts in its user's home, or where that user means."""
    assert (await run(sandbox, "pwd", cwd=cwd, user=user)).out.strip() == shown


async def test_what_cannot_be_started(sandbox: Sandbox, run: Any) -> None:
    """A missing directory, user or program is told as such."""
    with pytest.raises(AgentError, match=r"^cwd '/x' does not exist$") as raised:
        await run(sandbox, "true", cwd="/x")
    assert raised.value.code == "invalid_argument"
    assert await _code(run(sandbox, "true", user="nobody")) == "unknown_user"
    assert await _code(run(sandbox, "no-such-program", "x")) == "not_found"
    assert await _code(run(sandbox, "/no/such/program", "x")) == "not_found"
    assert await _code(run(sandbox, "/bin/echo", "a\0b")) == "invalid_argument"
    assert await _code(run(sandbox, "/bin/echo", "x" * 200_000)) == "invalid_argument"


async def test_output_can_be_reopened_by_name(sandbox: Sandbox, run: Any) -> None:
    """/dev/stdout and /dev/stderr work, whoever the daemon is."""
    ran = await run(sandbox, "echo a > /dev/stdout; echo b > /dev/stderr")
    assert (ran.out, ran.error) == ("a\n", "b\n")


async def test_python_is_python_3(sandbox: Sandbox, run: Any) -> None:
    """`python` means Python 3, as in E2B's base template, whether or not the host has that name."""
    ran = await run(sandbox, "python -c 'import sys; print(sys.version_info[0], sys.argv[1:])' 'a  b'")
    assert ran.out == "3 ['a  b']\n"


async def test_apt_says_what_to_do_instead(sandbox: Sandbox, run: Any) -> None:
    """To install a package of the system is refused in one line that names the ways there are, with apt's own code."""
    ran = await run(sandbox, "exec 2>&1; sudo apt-get -y install jq; echo $?; apt update; echo $?")
    refused, code, again, _ = ran.out.splitlines()
    assert refused.startswith("apt-get: a sandbox on this machine cannot change its system. Install the package on")
    assert again.startswith("apt: a sandbox")
    assert code == "100"


async def test_sudo_gives_the_name_and_no_more(sandbox: Sandbox, run: Any) -> None:
    """The sudo of a sandbox runs the command with root's name and home, and passes its code on."""
    ran = await run(
        sandbox, "sudo -E -u root X=1 sh -c 'echo $USER $X; exit 5'; echo $?; sudo -u user sh -c 'echo $HOME'"
    )
    assert ran.out == "root 1\n5\n/home/user\n"


async def test_a_terminal(sandbox: Sandbox, read: Read, run: Any) -> None:
    """A process on a terminal sees its size, hears of another, echoes, and is its session's leader."""
    script = (
        "trap 'stty size' WINCH; stty size; ps -o sid= -p $$ | tr -d ' '; echo $$; touch /tmp/ready; "
        "read line; read line; echo got $line"
    )
    process = await sandbox.spawn(
        argv=["/bin/bash", "-c", script], envs={}, cwd=None, user="user", stdin=True, terminal=(80, 24)
    )
    assert process.stdin is not None
    reading = asyncio.ensure_future(read(process.stdout))
    await run(sandbox, "until [ -e /tmp/ready ]; do sleep 0.02; done")
    await sandbox.resize(process.pid, 100, 30)
    os.write(process.stdin, b"one\n")
    await asyncio.sleep(0.1)
    os.write(process.stdin, b"two\n")
    lines = (await reading).decode().replace("\r", "").splitlines()
    assert await process.exited == ExitStatus(0, None)
    assert lines[0] == "24 80"
    assert lines[1] == lines[2]
    assert "30 100" in lines
    assert lines[-1] == "got two"
    assert await _code(sandbox.resize(process.pid, 1, 1)) == "not_found"
    process.close()


async def test_a_terminal_carries_much(sandbox: Sandbox, read: Read) -> None:
    """A terminal's output arrives whole, however slowly it is read."""
    process = await sandbox.spawn(
        argv=["/bin/sh", "-c", "seq 200000"], envs={}, cwd=None, user="user", stdin=True, terminal=(80, 24)
    )
    await asyncio.sleep(0.3)
    lines = (await read(process.stdout)).split()
    assert lines == [b"%d" % number for number in range(1, 200_001)]
    process.close()


async def test_orphans_are_reaped(sandbox: Sandbox, run: Any) -> None:
    """A process whose parent ended is reaped by the agent, and leaves no zombie."""
    await run(sandbox, "for i in $(seq 20); do (sleep 0.05 >/dev/null 2>&1 &) ; done")
    look = "pgrep -x sleep >/dev/null || cat /proc/[0-9]*/stat | grep -q ') Z '"
    script = f"for n in $(seq 300); do {{ {look}; }} || {{ echo reaped; exit; }}; sleep 0.1; done"
    assert (await run(sandbox, script)).out.strip() == "reaped"


async def test_files_there_and_back(sandbox: Sandbox) -> None:
    """A file written with its parents made is told of, listed, moved between mounts, read and removed."""
    descriptor, entry = await sandbox.open_write("a/b/f.txt", "user", metadata={"k": "v"})
    os.write(descriptor, b"content")
    os.close(descriptor)
    assert (entry.path, entry.type, entry.permissions) == ("/home/user/a/b/f.txt", "file", "-rw-r--r--")
    told = await sandbox.stat("~/a/b/f.txt", "user")
    assert (told.size, told.mode, told.owner, told.group, told.metadata) == (7, 0o644, "user", "user", {"k": "v"})
    listed = await sandbox.list_directory("~/a", "user", 2)
    assert [one.path for one in listed] == ["/home/user/a/b", "/home/user/a/b/f.txt"]
    assert listed[0].permissions == "drwxr-xr-x"
    moved = await sandbox.move("a", "/tmp/deep/er/a", "user")
    assert (moved.path, moved.type) == ("/tmp/deep/er/a", "directory")
    descriptor, _ = await sandbox.open_read("/tmp/deep/er/a/b/f.txt", "root")
    assert os.read(descriptor, 100) == b"content"
    os.close(descriptor)
    await sandbox.remove("/tmp/deep", "user")
    await sandbox.remove("/tmp/deep", "user")
    assert await _code(sandbox.stat("/tmp/deep", "user")) == "not_found"


async def test_writing_again_replaces_all(sandbox: Sandbox) -> None:
    """A file that is written again is emptied, and its metadata replaced."""
    for content, metadata in ((b"long content", {"a": "1", "b": "2"}), (b"short", {"b": "3"}), (b"", None)):
        descriptor, entry = await sandbox.open_write("/tmp/f", "user", metadata=metadata)
        os.write(descriptor, content)
        os.close(descriptor)
        assert entry.metadata == (metadata or {})
        assert (await sandbox.stat("/tmp/f", "user")).size == len(content)


async def test_links_are_told_as_links(sandbox: Sandbox, run: Any) -> None:
    """A link's type and mode are its target's, its permissions its own; a broken one leads to itself."""
    await run(sandbox, "mkdir -p d/e; chmod 700 d; ln -s d l; ln -s nowhere broken; ln -s /dev/zero z")
    link, broken, zero = [await sandbox.stat(name, "user") for name in ("l", "broken", "z")]
    assert (link.type, link.mode, link.permissions) == ("directory", 0o700, "Lrwxrwxrwx")
    assert link.symlink_target == "/home/user/d"
    assert (broken.type, broken.symlink_target, zero.type) == ("unknown", "/home/user/broken", "unknown")
    paths = [one.path for one in await sandbox.list_directory("/home/user", "user", 5)]
    assert paths == [f"/home/user/{name}" for name in ("broken", "d", "d/e", "l", "z")]


async def test_what_is_no_file_is_not_opened(sandbox: Sandbox, run: Any) -> None:
    """A FIFO, a device and a directory are refused at once, by themselves and through a link."""
    await run(sandbox, "mkfifo f; ln -s f lf; ln -s /dev/zero z; mkdir d")
    async with asyncio.timeout(5):
        for path, code in (("f", "invalid_argument"), ("lf", "invalid_argument"), ("z", "invalid_argument")):
            assert await _code(sandbox.open_read(path, "user")) == code
            assert await _code(sandbox.open_write(path, "user", metadata=None)) == code
        assert await _code(sandbox.open_read("d", "user")) == "is_a_directory"
        assert await _code(sandbox.open_write("d", "user", metadata=None)) == "is_a_directory"


async def test_a_link_to_a_host_path_leads_into_the_sandbox(sandbox: Sandbox, run: Any, tmp_path: Path) -> None:
    """A path is resolved inside, so that a link to a file of the host's finds nothing."""
    secret = tmp_path / "secret"
    secret.write_text("host")
    await run(sandbox, f"ln -s {secret} s; ln -s /etc/shadow t")
    for name in ("s", "t"):
        assert await _code(sandbox.open_read(name, "user")) == "not_found"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (lambda it: it.stat("/x", "user"), "not_found"),
        (lambda it: it.stat("x", "nobody"), "unknown_user"),
        (lambda it: it.stat("~root/x", "user"), "invalid_argument"),
        (lambda it: it.stat("a\0b", "user"), "invalid_argument"),
        (lambda it: it.stat("x" * 5000, "user"), "invalid_argument"),
        (lambda it: it.list_directory("/x", "user"), "not_found"),
        (lambda it: it.list_directory("/etc/passwd", "user"), "invalid_argument"),
        (lambda it: it.make_directory("/tmp", "user"), "already_exists"),
        (lambda it: it.make_directory("/etc/passwd", "user"), "invalid_argument"),
        (lambda it: it.move("/x", "/tmp/y", "user"), "not_found"),
        (lambda it: it.remove("/etc/passwd", "user"), "permission_denied"),
        (lambda it: it.open_write("/etc/passwd", "user", metadata=None), "permission_denied"),
        (lambda it: it.open_write("/etc/passwd/x", "user", metadata=None), "not_a_directory"),
        (lambda it: it.connect(1), "not_found"),
        (lambda it: it.signal(1, 9), "not_found"),
    ],
)
async def test_a_mistake_has_its_code(asked: Callable[[Sandbox], Awaitable[Any]], code: str, sandbox: Sandbox) -> None:
    """Each mistake with a file, port or process is told by the code that the server acts on."""
    assert await _code(asked(sandbox)) == code


async def test_names_that_are_not_text_survive(sandbox: Sandbox, run: Any) -> None:
    """A file whose name is no UTF-8 is listed by a name that finds it again."""
    await run(sandbox, "touch $'bad\\xff'")
    (entry,) = await sandbox.list_directory("~", "user")
    assert (await sandbox.stat(entry.path, "user")).name == entry.name


@pytest.mark.slow
async def test_long_work_does_not_hold_the_agent(sandbox: Sandbox, run: Any) -> None:
    """While a large tree is removed, the agent goes on answering."""
    await run(sandbox, "mkdir t && cd t && seq 20000 | xargs touch")
    removing = asyncio.ensure_future(sandbox.remove("t", "user"))
    await sandbox.stat("~", "user")
    assert not removing.done()
    await removing


async def test_a_list_too_long_is_an_error_of_its_own(sandbox: Sandbox, run: Any) -> None:
    """A listing longer than the daemon takes is refused by name, and the sandbox lives."""
    await run(sandbox, f"mkdir t && cd t && seq -f '{'x' * 200}%g' 20000 | xargs touch")
    assert await _code(sandbox.list_directory("t", "user")) == "exhausted"
    assert not sandbox.ended.done()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_port_inside_is_dialled_from_outside(host: str, sandbox: Sandbox, read: Read) -> None:
    """A server on the sandbox's loopback is reached through a socket that comes out, over IPv4 and IPv6."""
    family = "AF_INET6" if ":" in host else "AF_INET"
    script = (
        f"import socket; s = socket.create_server(({host!r}, 8000), family=socket.{family})\n"
        "c, _ = s.accept(); c.sendall(c.recv(10).upper()); c.close()"
    )
    process = await sandbox.spawn(argv=["python3", "-c", script], envs={}, cwd=None, user="user", stdin=False)
    while True:
        try:
            connection = await sandbox.connect(8000)
            break
        except AgentError:
            await asyncio.sleep(0.02)
    reader, writer = await asyncio.open_connection(sock=connection)
    writer.write(b"hello")
    assert await reader.read() == b"HELLO"
    writer.close()
    process.close()


def _send_for_ever(connection: socket.socket) -> None:
    while True:
        connection.send(bytes(65536))


async def test_a_socket_from_inside_never_blocks(sandbox: Sandbox) -> None:
    """A connection stays non-blocking though the other holder of its description switches that off."""
    script = "import socket, time; s = socket.create_server(('', 8001)); c = s.accept(); time.sleep(60)"
    process = await sandbox.spawn(argv=["python3", "-c", script], envs={}, cwd=None, user="user", stdin=False)
    while True:
        try:
            connection = await sandbox.connect(8001)
            break
        except AgentError:
            await asyncio.sleep(0.02)
    with connection:
        os.set_blocking(connection.fileno(), True)
        with pytest.raises(BlockingIOError):
            connection.recv(1)
        with pytest.raises(BlockingIOError):
            connection.recv_into(bytearray(1))
        with pytest.raises(BlockingIOError):
            _send_for_ever(connection)
    process.close()


async def test_a_directory_has_one_sandbox(start: Start, tmp_path: Path) -> None:
    """A second sandbox on the same directory is refused while the first runs, and finds its files afterwards."""
    first = await start(directory=tmp_path / "one")
    with pytest.raises(ConfigurationError, match="running"):
        await start(directory=tmp_path / "one")
    descriptor, _ = await first.open_write("kept", "user", metadata=None)
    os.close(descriptor)
    await first.kill()
    again = await start(directory=tmp_path / "one")
    assert (await again.stat("kept", "user")).type == "file"


async def test_the_end_is_told_to_all(sandbox: Sandbox) -> None:
    """When a sandbox is killed its processes end, whoever waits is told, and later requests find it gone."""
    process = await sandbox.spawn(argv=["sleep", "60"], envs={}, cwd=None, user="user", stdin=False)
    asking = asyncio.ensure_future(sandbox.connect(9))
    await sandbox.kill()
    assert await process.exited == ExitStatus(None, signal.SIGKILL)
    assert await sandbox.ended == "it was killed"
    assert await _code(sandbox.stat("/", "user")) == "gone"
    with pytest.raises(AgentError):
        await asking
    process.close()
    await sandbox.kill()


@pytest.mark.parametrize("asked", ["read", "accept"])
async def test_an_answer_that_came_too_late_is_let_go_of(
    asked: str, start: Start, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descriptor that comes in the very moment in which its asker is cancelled is closed."""
    deliver, cancelled = Channel._deliver, asyncio.Event()

    def deliver_late(channel: Channel, message: dict[str, Any], descriptor: Any) -> bool:
        handed_on = deliver(channel, message, descriptor)
        if descriptor is not None:
            asking.cancel()
            cancelled.set()
        return handed_on

    sandbox = await start(Limits(disk_bytes=None))  # who measures the disk opens directories
    await sandbox.stat("/", "user")
    gc.collect()  # else what others have left would be let go of meanwhile
    before = _held()
    monkeypatch.setattr(Channel, "_deliver", deliver_late)
    asking: asyncio.Future[Any]
    if asked == "read":
        asking = asyncio.ensure_future(sandbox.open_read("/etc/hosts", "user"))
    else:
        asking = asyncio.ensure_future(sandbox.accept(4000))
        await run(sandbox, ": < /dev/tcp/127.0.0.1/4000")
    await cancelled.wait()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert _held() == before


async def test_a_cancelled_spawn_leaves_nothing(sandbox: Sandbox, run: Any) -> None:
    """A process whose asker is cancelled before it knows of it is ended."""
    for _ in range(5):
        asking = asyncio.ensure_future(sandbox.spawn(argv=["sleep", "77"], envs={}, cwd=None, user="user", stdin=False))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    await asyncio.sleep(0.2)
    assert (await run(sandbox, "pgrep -c sleep")).out.strip() == "0"


def _held() -> tuple[int, str]:
    return len(list(Path("/proc/self/fd").iterdir())), Path("/proc/self/mountinfo").read_text(encoding="utf-8")


async def test_nothing_is_left_behind(start: Start, run: Any) -> None:
    """Sandboxes that came and went leave no process, descriptor or mount."""
    await (await start()).kill()
    before = _held()
    for _ in range(10):
        sandbox = await start(Limits(disk_bytes=None))
        await run(sandbox, "setsid sleep 60 >/dev/null 2>&1 &")
        with pytest.raises(AgentError):
            await sandbox.stat("/x", "user")
        await sandbox.kill()
    assert _held() == before
    assert [child for child in psutil.Process().children(recursive=True) if child.name() in ("bwrap", "sleep")] == []


@pytest.mark.parametrize("delay", [0, 0.001, 0.002, 0.004, 0.008, 0.016])
async def test_a_cancelled_start_leaves_nothing(delay: float, start: Start, tmp_path: Path) -> None:
    """A start that is cancelled, however early, leaves no process and no lock."""
    await start()
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    orphans_before = _orphans()
    for number in range(5):
        starting = asyncio.ensure_future(start(directory=tmp_path / f"{delay}-{number}"))
        await asyncio.sleep(delay)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
    assert _orphans() <= orphans_before
    await start(directory=tmp_path / f"{delay}-0")


def _orphans() -> set[int]:
    processes = psutil.process_iter(["name", "ppid", "uids"])
    lost = [one for one in processes if one.info["name"] == "bwrap" and one.info["ppid"] == 1]
    # Another user's are none of ours; root's sandboxes have user ids of their own.
    return {one.pid for one in lost if os.geteuid() in (0, one.info["uids"].real)}
