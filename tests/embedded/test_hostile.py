"""Agents that lie: each breaks the protocol in its own way, and its sandbox is dropped; the daemon and others live."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.util
import marshal
import os
import resource
import stat
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from e2b_magic.embedded.containment import launcher as launcher_module
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.sandbox import sandbox as sandbox_module
from e2b_magic.embedded.sandbox.sandbox import AgentError, Sandbox
from e2b_magic.exceptions import ContainmentError

pytestmark = pytest.mark.sandbox

Start = Callable[..., Awaitable[Sandbox]]

PRELUDE = """
import json, os, socket, sys
channel = socket.socket(fileno=int(sys.argv[1]))
channel.recv(65536)
def say(message, descriptors=()):
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    socket.send_fds(channel, [b"." + data], descriptors)
say({"ready": True})
channel.recv(65536)
"""
ENTRY = (
    "entry = {'name': 'x', 'path': '/x', 'type': 'file', 'size': 1, 'mode': 0o644, 'permissions': '-', 'owner': 'u',"
    " 'group': 'u', 'modified_time': 1.0, 'symlink_target': None, 'metadata': {}}\n"
)
LIES = {
    "no JSON": "say(b'{')",
    "no object": "say([1])",
    "deep JSON": "say(b'[' * 50000)",
    "an unknown question": "say({'id': 99, 'result': None})",
    "a question that is no number": "say({'id': [1], 'result': None})",
    "True for 1": "say({'id': True, 'result': None})",
    "the end of no process": "say({'exit': 5, 'code': 0, 'signal': None})",
    "an error that is none": "say({'id': 1, 'error': 'x'})",
    "an error without a code": "say({'id': 1, 'error': {'message': 'x'}})",
    "a wrong result": "say({'id': 1, 'result': {'name': 5}})",
    "an impossible size": ENTRY + "entry['size'] = -1; say({'id': 1, 'result': entry})",
    "an impossible time": ENTRY + "entry['modified_time'] = float('nan'); say({'id': 1, 'result': entry})",
    "another type": ENTRY + "entry['type'] = 'x'; say({'id': 1, 'result': entry})",
    "two answers in one another": """channel.send(b'+{"id": 1, ')\nsay({'id': 1, 'result': None})""",
    "a fragment of no kind": "channel.send(b'x')",
    "an endless answer": "while True: channel.send(b'+' + b'x' * 60000)",
    "a fragment too long": "channel.setsockopt(1, 7, 1 << 20); channel.send(b'.' + b'x' * 100000)",
    "a descriptor unasked": "say({'id': 1, 'result': None}, [0])",
    "a flood of descriptors": "say({'id': 1, 'result': None}, [0] * 100)",
    "a descriptor in the middle": "socket.send_fds(channel, [b'+x'], [0])",
    "silence and death": "os._exit(0)",
}
# What is answered to `open_read` and to `connect`.
DESCRIPTORS = {
    "no descriptor": "say({'id': 1, 'result': entry})",
    "a directory": "say({'id': 1, 'result': entry}, [os.open('/', os.O_RDONLY)])",
    "a path only": "say({'id': 1, 'result': entry}, [os.open('/', os.O_PATH)])",
    "a pipe": "say({'id': 1, 'result': entry}, [os.pipe()[0]])",
    "a device": "say({'id': 1, 'result': entry}, [os.open('/dev/zero', os.O_RDONLY)])",
    "a Unix socket": "say({'id': 1, 'result': None}, [socket.socketpair()[0].fileno()])",
    "a datagram socket": "say({'id': 1, 'result': None}, [socket.socket(2, 2).fileno()])",
}


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives a function that puts another agent into the sandboxes that are started from then on."""

    def lie(script: str) -> None:
        code = compile(PRELUDE + script + "\nimport time; time.sleep(60)", "<lie>", "exec")
        packed = importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)
        monkeypatch.setattr(launcher_module, "agent_bytecode", lambda: packed)

    return lie


async def _dropped(sandbox: Sandbox, asked: Awaitable[Any]) -> str:
    async with asyncio.timeout(10):
        with pytest.raises(AgentError) as raised:
            await asked
        assert raised.value.code == "gone"
        return await sandbox.ended


@pytest.mark.parametrize("lie", [pytest.param(script, id=name) for name, script in LIES.items()])
async def test_a_lie_ends_the_sandbox_alone(lie: str, start: Start, run: Any, lying: Callable[[str], None]) -> None:
    """A malformed answer drops the sandbox it came from, and another goes on."""
    other = await start()
    lying(lie)
    sandbox = await start()
    reason = await _dropped(sandbox, sandbox.stat("/x", "user"))
    assert "protocol" in reason or "ended" in reason
    assert (await run(other, "echo alive")).out == "alive\n"


@pytest.mark.parametrize("lie", [pytest.param(script, id=name) for name, script in DESCRIPTORS.items()])
async def test_a_false_descriptor_ends_the_sandbox(lie: str, start: Start, lying: Callable[[str], None]) -> None:
    """A descriptor of another kind than was asked for is closed, and its sandbox dropped."""
    lying(ENTRY + lie)
    # Without a quota, whose sums open and close descriptors of their own meanwhile.
    sandbox = await start(Limits(disk_bytes=None))
    before = _open_descriptors()
    asked = sandbox.connect(80) if "socket" in lie else sandbox.open_read("/x", "user")
    await _dropped(sandbox, asked)
    assert _open_descriptors() < before


@pytest.mark.parametrize("lie", [pytest.param(DESCRIPTORS[kind], id=kind) for kind in ("a directory", "a device")])
async def test_but_for_the_look_it_would_be_taken(
    lie: str, start: Start, lying: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the daemon's own look at a descriptor that refuses it: without that, it would be used."""
    monkeypatch.setattr(sandbox_module, "check_file", lambda descriptor: descriptor)
    lying(ENTRY + lie)
    sandbox = await start()
    descriptor, _ = await sandbox.open_read("/x", "user")
    assert not stat.S_ISREG(os.fstat(descriptor).st_mode)
    os.close(descriptor)


@contextlib.contextmanager
def _descriptors_left(count: int) -> Iterator[None]:
    """Lets the process open so many more descriptors, and takes every number below them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    taken = [lowest]
    try:
        highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2 + count, hard))
        with contextlib.suppress(OSError):  # until there is none left
            while True:
                taken.append(os.dup(lowest))
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


async def test_a_lack_of_descriptors_is_no_lie(start: Start, run: Any) -> None:
    """When the daemon has no descriptor left, a file cannot be opened just then, and its sandbox lives on."""
    sandbox = await start(Limits(disk_bytes=None))
    await run(sandbox, "echo 1 > file")
    with _descriptors_left(0), pytest.raises(AgentError, match="too many files open") as raised:
        await sandbox.open_read("file", "user")
    assert raised.value.code == "exhausted"
    descriptor, entry = await sandbox.open_read("file", "user")
    os.close(descriptor)
    assert entry.size == 2


async def test_the_last_descriptor_is_not_taken_for_a_lie(start: Start, run: Any) -> None:
    """A connection that comes with the daemon's last descriptor cannot be looked at: it is closed, no more."""
    sandbox = await start(Limits(disk_bytes=None))
    server = "import socket; s = socket.create_server(('127.0.0.1', 8000)); print('up', flush=True); s.accept()"
    process = await sandbox.spawn(argv=["python3", "-c", server], envs={}, cwd=None, user="user", stdin=False)
    os.set_blocking(process.stdout, True)
    assert await asyncio.to_thread(os.read, process.stdout, 16) == b"up\n"
    with _descriptors_left(1), pytest.raises(AgentError, match="too many files open"):
        await sandbox.connect(8000)
    process.close()
    assert (await run(sandbox, "echo alive")).out == "alive\n"


async def test_a_process_needs_descriptors(start: Start, run: Any) -> None:
    """With too few descriptors left for a process's streams it is refused, and those that there were are given back."""
    sandbox = await start(Limits(disk_bytes=None))
    spawn: dict[str, Any] = {"argv": ["true"], "envs": {}, "cwd": None, "user": "user", "stdin": True}
    for left, terminal in ((0, None), (3, None), (5, None), (0, (80, 24)), (2, (80, 24))):
        before = _open_descriptors()
        with _descriptors_left(left), pytest.raises(AgentError, match="too many files open") as raised:
            await sandbox.spawn(**spawn, terminal=terminal)
        assert (raised.value.code, _open_descriptors()) == ("exhausted", before)
    assert (await run(sandbox, "echo alive")).out == "alive\n"


async def test_a_start_that_cannot_be_watched_is_undone(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the daemon has no descriptor to hold a new sandbox by, it ends it, and keeps nothing of it."""

    def refuse(pid: int) -> int:
        raise OSError(errno.EMFILE, f"no descriptor for {pid}")

    await start(Limits(disk_bytes=None))  # what a first one opens for good
    before, children = _open_descriptors(), len(psutil.Process().children(recursive=True))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pidfd_open", refuse)
        with pytest.raises(ContainmentError, match="could not be watched over"):
            await start(Limits(disk_bytes=None))
    assert _open_descriptors() == before
    assert len(psutil.Process().children(recursive=True)) == children
    await start(Limits(disk_bytes=None))  # under the same name, whose place on the stage is free again


async def test_descriptors_unasked_are_a_lie_even_then(start: Start, lying: Callable[[str], None]) -> None:
    """Without a descriptor left, one that no question allows still ends the sandbox that sends it."""
    lying("say({'id': 1, 'result': None}, [0])")
    sandbox = await start(Limits(disk_bytes=None))
    asked = asyncio.ensure_future(sandbox.remove("/x", "user"))
    with _descriptors_left(0):
        await asyncio.wait({asked}, timeout=10)
    assert "descriptors" in await _dropped(sandbox, asked)


async def test_an_agent_that_reads_nothing_is_not_waited_for(start: Start, lying: Callable[[str], None]) -> None:
    """Requests to an agent that reads none are bounded, and killing its sandbox still works at once."""
    lying("")
    sandbox = await start()
    asking = [asyncio.ensure_future(sandbox.set_metadata("/x", "user", {"k": "x" * 1_000_000})) for _ in range(60)]
    async with asyncio.timeout(10):
        await asyncio.sleep(0.1)
        assert any(one.done() for one in asking)
        await sandbox.kill()
        ends = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(end) for end in ends} == {AgentError}


def _open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
