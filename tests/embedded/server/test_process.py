"""Processes in a sandbox: what they write and read, how they end, and who is told."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from connectrpc.errors import ConnectError
from e2b import AsyncSandbox, CommandExitException, InvalidArgumentException, Sandbox, SandboxException
from e2b.exceptions import AuthenticationException, NotFoundException, SandboxNotRunningException, TimeoutException
from e2b.sandbox.commands.command_handle import PtySize

from e2b_magic.embedded.endpoint import Endpoint

pytestmark = pytest.mark.sandbox


def test_both_streams_and_the_code_come_back(sandbox: Sandbox) -> None:
    """A command's output, its error output and its exit code are told apart."""
    with pytest.raises(CommandExitException) as caught:
        sandbox.commands.run("echo out; echo err >&2; exit 3")
    assert (caught.value.stdout, caught.value.stderr, caught.value.exit_code) == ("out\n", "err\n", 3)


def test_bytes_are_kept_over_chunks(sandbox: Sandbox) -> None:
    """A megabyte of text with characters of several bytes comes back as it was written."""
    told = sandbox.commands.run("python3 -c \"print('aü€😀' * 100_000, end='')\"").stdout
    assert told == "aü€😀" * 100_000


def test_variables_and_directory_reach_the_command(sandbox: Sandbox) -> None:
    """A command's own variables stand above the sandbox's, and it starts where it is told."""
    told = sandbox.commands.run("echo $OWN; pwd", envs={"OWN": "a b"}, cwd="/tmp").stdout
    assert told == "a b\n/tmp\n"
    assert sandbox.commands.run("pwd; echo $USER ~", user="root").stdout == "/root\nroot /root\n"


def test_a_directory_that_is_not_there_is_named(sandbox: Sandbox) -> None:
    """A command in a missing directory is not started, and the error names the directory."""
    with pytest.raises(InvalidArgumentException, match="cwd '/nowhere' does not exist"):
        sandbox.commands.run("true", cwd="/nowhere")


def test_an_unknown_user_is_named(sandbox: Sandbox) -> None:
    """A user that the sandbox does not have is refused by name."""
    with pytest.raises(AuthenticationException, match="invalid username: 'nobody-here'"):
        sandbox.commands.run("true", user="nobody-here")


def test_input_is_fed_and_closed(sandbox: Sandbox) -> None:
    """What is sent reaches the process in order, and closing the input ends it; twice is no mistake."""
    # It outlives its input for a moment: of a process that has ended, the second close would rightly find none.
    handle = sandbox.commands.run("cat; sleep 1", background=True, stdin=True)
    for part in ("one ", "two ", "ü\n"):
        handle.send_stdin(part)
    handle.close_stdin()
    handle.close_stdin()
    assert handle.wait().stdout == "one two ü\n"


def test_input_larger_than_a_pipe_waits_for_the_reader(sandbox: Sandbox) -> None:
    """A megabyte of input reaches a process that reads it late, whole."""
    handle = sandbox.commands.run("sleep 0.3; wc -c", background=True, stdin=True)
    handle.send_stdin("x" * 1_000_000)
    handle.close_stdin()
    assert handle.wait().stdout.strip() == "1000000"


def test_a_command_without_input_takes_none(sandbox: Sandbox) -> None:
    """Without `stdin` a command reads the end of its input at once, and feeding it is an error."""
    assert sandbox.commands.run("cat").stdout == ""
    handle = sandbox.commands.run("sleep 5", background=True)
    with pytest.raises(SandboxException, match="stdin not enabled or closed"):
        handle.send_stdin("x")
    handle.kill()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_end_waits_for_what_children_write(sandbox: Sandbox) -> None:
    """A child in the background that holds the output is heard to its end."""
    assert sandbox.commands.run("(sleep 0.5; echo late) & echo early").stdout == "early\nlate\n"


def test_a_kill_ends_it_whoever_holds_the_output(sandbox: Sandbox) -> None:
    """After a kill the end comes at once, though a child keeps the output open; what was written is told."""
    handle = sandbox.commands.run("echo before; sleep 34567 & wait", background=True)
    began = time.monotonic()
    next(iter(handle))  # it has written
    assert handle.kill()
    with pytest.raises(CommandExitException) as caught:
        handle.wait()
    assert time.monotonic() - began < 60  # the child would hold the output for hours
    assert (caught.value.stdout, caught.value.exit_code, caught.value.error) == ("before\n", -1, "signal: killed")
    assert not handle.kill()


def test_a_process_that_is_not_there_is_not_found(sandbox: Sandbox) -> None:
    """Signals, input and connections to an unknown process are answered with its number."""
    assert not sandbox.commands.kill(99999)
    with pytest.raises(NotFoundException, match="process with pid 99999 not found"):
        sandbox.commands.send_stdin(99999, "x")
    with pytest.raises(NotFoundException, match="process with pid 99999 not found"):
        sandbox.commands.connect(99999)


def test_what_was_killed_is_gone(sandbox: Sandbox) -> None:
    """Who has killed a process finds it no more, even one whose memory takes the kernel a while to give back."""
    program = "python3 -uc 'import time; held = b\"x\" * (300 << 20); print(len(held)); time.sleep(60)'"
    handle = sandbox.commands.run(program, background=True)
    next(iter(handle))
    assert sandbox.commands.kill(handle.pid)
    assert sandbox.commands.run(f"kill -0 {handle.pid} && echo there || echo gone").stdout == "gone\n"
    assert not sandbox.commands.kill(handle.pid)


def test_a_timeout_kills_the_process(sandbox: Sandbox) -> None:
    """A command that runs longer than its timeout is gone afterwards."""
    with pytest.raises(TimeoutException):
        sandbox.commands.run("exec sleep 45678", timeout=0.3)
    _until(lambda: all("45678" not in str(process.args) for process in sandbox.commands.list()))


def test_a_timeout_kills_even_what_nobody_follows(sandbox: Sandbox) -> None:
    """A process outlives its client, but not its timeout."""
    handle = sandbox.commands.run("exec sleep 56789", background=True, timeout=2)
    handle.disconnect()
    assert handle.pid in [process.pid for process in sandbox.commands.list()]
    _until(lambda: handle.pid not in [process.pid for process in sandbox.commands.list()])


def test_a_process_outlives_its_client(sandbox: Sandbox) -> None:
    """After its client left, a process runs on, what it writes is dropped, and who comes later hears the rest."""
    written, waiting = "for i in $(seq 40); do head -c 10000 /dev/zero; done", "until [ -e go ]; do sleep 0.05; done"
    command = f"{written}; touch written; {waiting}; echo rest"
    handle = sandbox.commands.run(command, background=True)
    handle.disconnect()
    _until(lambda: sandbox.files.exists("written"))
    time.sleep(0.5)  # the server takes the last of it from the pipe, and drops it
    later = sandbox.commands.connect(handle.pid)
    sandbox.files.write("go", "")
    assert later.wait().stdout == "rest\n"


def test_two_clients_hear_the_same(sandbox: Sandbox) -> None:
    """Everyone who is connected hears all that is written from then on."""
    first = sandbox.commands.run("read line; echo got $line", background=True, stdin=True)
    second = sandbox.commands.connect(first.pid)
    first.send_stdin("it\n")
    assert first.wait().stdout == second.wait().stdout == "got it\n"


def test_an_end_is_told_again_for_a_while(sandbox: Sandbox) -> None:
    """Whoever connects to a process that just ended learns its exit code."""
    handle = sandbox.commands.run("exit 5", background=True)
    with pytest.raises(CommandExitException):
        handle.wait()
    with pytest.raises(CommandExitException) as caught:
        sandbox.commands.connect(handle.pid).wait()
    assert caught.value.exit_code == 5


def test_the_list_shows_what_runs(sandbox: Sandbox) -> None:
    """A running process is listed with its command, and an ended one is not."""
    handle = sandbox.commands.run("sleep 5", background=True)
    listed = {process.pid: process for process in sandbox.commands.list()}
    assert listed[handle.pid].cmd == "/bin/bash"
    assert listed[handle.pid].args == ["-l", "-c", "sleep 5"]
    handle.kill()
    with pytest.raises(CommandExitException):
        handle.wait()
    assert handle.pid not in [process.pid for process in sandbox.commands.list()]


def test_a_terminal_is_one(sandbox: Sandbox) -> None:
    """A terminal has the size it was given and the one it is changed to, echoes, and takes input."""
    written: list[bytes] = []
    handle = sandbox.pty.create(PtySize(rows=24, cols=80), timeout=10)
    sandbox.pty.resize(handle.pid, PtySize(rows=30, cols=100))
    sandbox.pty.send_stdin(handle.pid, b"stty size; tty; exit 4\n")
    with pytest.raises(CommandExitException) as caught:
        handle.wait(on_pty=written.append)
    assert caught.value.exit_code == 4
    assert b"30 100" in b"".join(written)
    assert b"/dev/pts/" in b"".join(written)


def test_a_terminals_input_cannot_be_closed(sandbox: Sandbox, envd: httpx.Client) -> None:
    """Closing a terminal's input is refused with `unknown`, as E2B's own server does, and says what to do."""
    handle = sandbox.pty.create(PtySize(rows=24, cols=80), timeout=10)
    answer = envd.post("/process.Process/CloseStdin", json={"process": {"pid": handle.pid}})
    assert answer.json()["code"] == "unknown"
    assert "Ctrl+D" in answer.json()["message"]
    handle.kill()


def _envelopes(content: Iterator[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    buffer = b""
    for chunk in content:
        buffer += chunk
        while len(buffer) >= 5 and len(buffer) >= 5 + (size := struct.unpack(">I", buffer[1:5])[0]):
            yield buffer[0], json.loads(buffer[5 : 5 + size])
            buffer = buffer[5 + size :]


def _stream(envd: httpx.Client, method: str, body: dict[str, Any], **headers: str) -> list[tuple[int, dict[str, Any]]]:
    """Gives every frame of a stream: its flags and its content."""
    message = json.dumps(body).encode()
    request = envd.stream(
        "POST",
        f"/process.Process/{method}",
        content=struct.pack(">BI", 0, len(message)) + message,
        headers={"Content-Type": "application/connect+json", **headers},
        timeout=20,
    )
    with request as answer:
        assert answer.status_code == 200
        return list(_envelopes(answer.iter_raw()))


def _bash(command: str) -> dict[str, Any]:
    return {"process": {"cmd": "/bin/bash", "args": ["-c", command]}, "stdin": False}


def test_the_frames_of_a_stream(envd: httpx.Client) -> None:
    """A stream is start, data, end, and the frame that ends it, each as E2B's clients read them."""
    frames = _stream(envd, "Start", _bash("echo hi"))
    assert [flags for flags, _ in frames] == [0, 0, 0, 2]
    start, data, end, last = [content for _, content in frames]
    assert start["event"]["start"]["pid"] > 1
    assert base64.b64decode(data["event"]["data"]["stdout"]) == b"hi\n"
    assert end["event"]["end"] == {"exited": True, "status": "exit status 0"}
    assert last == {}


def test_a_silent_process_shows_signs_of_life(envd: httpx.Client) -> None:
    """Where nothing is written, a keepalive comes after each interval that the client asked for."""
    frames = _stream(envd, "Start", _bash("sleep 0.9"), **{"Keepalive-Ping-Interval": "0.25"})
    assert [next(iter(content["event"])) for _, content in frames[:-1]] == ["start", *["keepalive"] * 3, "end"]


def test_the_end_of_a_lifetime_is_told(envd: httpx.Client) -> None:
    """A stream whose process reached its timeout ends with `deadline_exceeded`, in the frame that ends it."""
    frames = _stream(envd, "Start", _bash("exec sleep 60"), **{"Connect-Timeout-Ms": "300"})
    assert frames[-1][0] == 2
    assert frames[-1][1]["error"]["code"] == "deadline_exceeded"


def test_a_connection_has_a_time_of_its_own(sandbox: Sandbox, envd: httpx.Client) -> None:
    """The timeout of a connection ends that stream, and leaves the process alone."""
    handle = sandbox.commands.run("sleep 30", background=True)
    frames = _stream(envd, "Connect", {"process": {"pid": handle.pid}}, **{"Connect-Timeout-Ms": "200"})
    assert frames[-1][1]["error"]["code"] == "deadline_exceeded"
    assert handle.pid in [process.pid for process in sandbox.commands.list()]
    handle.kill()


def test_a_program_that_is_not_there_is_an_error_of_the_stream(envd: httpx.Client) -> None:
    """What cannot be started is told in the frame that ends the stream."""
    frames = _stream(envd, "Start", {"process": {"cmd": "no-such-program"}})
    assert len(frames) == 1
    assert "no-such-program" in frames[0][1]["error"]["message"]


def test_the_death_of_a_sandbox_resets_its_streams(server: Endpoint, own_sandbox: Sandbox) -> None:
    """Killing a sandbox breaks its open stream off with a TCP reset, after its health is answered with 502."""
    message = json.dumps(_bash("echo up; sleep 60")).encode()
    body = struct.pack(">BI", 0, len(message)) + message
    head = (
        f"POST /process.Process/Start HTTP/1.1\r\nHost: 127.0.0.1\r\nE2b-Sandbox-Id: {own_sandbox.sandbox_id}\r\n"
        f"E2b-Sandbox-Port: 49983\r\nX-Access-Token: {own_sandbox._envd_access_token}\r\n"
        f"Content-Type: application/connect+json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(head.encode() + body)
        received = b""
        while base64.b64encode(b"up\n") not in received:
            received += connection.recv(65536)
        threading.Timer(0.1, own_sandbox.kill).start()
        with pytest.raises(ConnectionResetError):
            connection.recv(65536)
        assert not own_sandbox.is_running()


def _bubblewrap_around(server: Endpoint, word: str) -> psutil.Process:
    """Gives the process that holds the sandbox in which a command with this word runs."""
    while True:
        for child in psutil.Process(server.pid).children():
            if any(word in one.cmdline() for one in child.children(recursive=True)):
                return child


@pytest.mark.parametrize("end", ["kill", "timeout", "bubblewrap"])
def test_a_command_learns_of_its_sandboxs_death(own_sandbox: Sandbox, server: Endpoint, end: str) -> None:
    """However a sandbox ends, a command that runs in it fails within moments, and as the sandbox's end."""
    handle = own_sandbox.commands.run("sleep 60", background=True, timeout=0)
    if end == "kill":
        threading.Timer(0.2, own_sandbox.kill).start()
    elif end == "timeout":
        own_sandbox.set_timeout(1)
    else:
        _bubblewrap_around(server, "60").send_signal(signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(SandboxNotRunningException):
        handle.wait()
    assert time.monotonic() - began < 30  # half of what the command would have taken


def _memory(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


def test_a_client_that_does_not_read_stops_the_process(server: Endpoint, sandbox: Sandbox, envd: httpx.Client) -> None:
    """While nobody reads a stream its process waits, and the server holds no more than a few chunks of it."""
    message = json.dumps(_bash("head -c 300000000 /dev/zero")).encode()
    request = envd.stream(
        "POST",
        "/process.Process/Start",
        content=struct.pack(">BI", 0, len(message)) + message,
        headers={"Content-Type": "application/connect+json"},
    )
    before = _memory(server.pid)
    with request as answer:
        time.sleep(1)
        assert _memory(server.pid) - before < 30_000_000
        assert any("300000000" in str(process.args) for process in sandbox.commands.list())
        read = sum(len(chunk) for chunk in answer.iter_raw())
    assert read > 400_000_000  # in base64
    assert _memory(server.pid) - before < 60_000_000


async def test_many_commands_run_side_by_side(options: dict[str, Any]) -> None:
    """Forty commands at once in one sandbox each get their own output."""
    sandbox = await AsyncSandbox.create(**options)
    told = await asyncio.gather(*[sandbox.commands.run(f"sleep 0.2; echo {n}") for n in range(40)])
    assert [result.stdout for result in told] == [f"{n}\n" for n in range(40)]
    await sandbox.kill()


async def test_cancelling_a_stream_leaves_the_process(options: dict[str, Any]) -> None:
    """An async client that is cancelled leaves its command running, for another to connect to."""
    sandbox = await AsyncSandbox.create(**options)
    command = "until [ -e go ]; do sleep 0.05; done; echo done"
    handle = await sandbox.commands.run(command, background=True)
    waiting = asyncio.create_task(handle.wait())
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises((asyncio.CancelledError, ConnectError)):
        await waiting
    later = await sandbox.commands.connect(handle.pid)
    await sandbox.files.write("go", "")
    assert (await later.wait()).stdout == "done\n"
    await sandbox.kill()


def test_no_descriptor_is_left_behind(server: Endpoint, sandbox: Sandbox) -> None:
    """After fifty commands, some killed, some abandoned, the server has as many open descriptors as before."""

    def count() -> int:
        return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))

    sandbox.commands.run("true")
    before = count()
    for number in range(50):
        handle = sandbox.commands.run("cat" if number % 2 else "true", background=True, stdin=True)
        if number % 2:
            handle.kill()
        handle.disconnect()
    deadline = time.monotonic() + 10
    while count() > before + 5 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert count() <= before + 5


def test_an_error_has_its_code(envd: httpx.Client) -> None:
    """A unary call that fails is answered with Connect's JSON error."""
    answer = envd.post("/process.Process/SendSignal", json={"process": {"pid": 99999}, "signal": "SIGNAL_SIGKILL"})
    assert answer.json() == {"code": "not_found", "message": "process with pid 99999 not found"}
