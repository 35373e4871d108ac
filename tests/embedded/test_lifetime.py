"""A sandbox's life hangs on the daemon's: however that ends, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from e2b_magic.embedded.containment import leftover
from e2b_magic.embedded.containment.bubblewrap import AGENT
from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.containment.removal import reclaim
from e2b_magic.embedded.sandbox import machine
from e2b_magic.embedded.sandbox.sandbox import Sandbox
from e2b_magic.exceptions import ConfigurationError

Start = Callable[..., Awaitable[Sandbox]]

# The launcher, without which this machine cannot contain anything, skips these tests with all others.
pytestmark = [pytest.mark.sandbox, pytest.mark.usefixtures("launcher")]

DAEMON = """
import asyncio, sys
from pathlib import Path
from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.sandbox.preflight import prepare
from e2b_magic.embedded.sandbox.sandbox import Sandbox

async def main():
    directory, without = Path(sys.argv[1]), frozenset(sys.argv[2:])
    launcher, report = await prepare(directory)
    launcher = Launcher(report.bubblewrap, overlay=report.overlay, without=without)
    sandbox = await Sandbox.start(
        sandbox_id="one", directory=directory / "one", envs={}, limits=Limits(), launcher=launcher
    )
    script = "setsid -f setsid sleep 1000; setsid -f setsid nohup sleep 1000 >/dev/null; echo up; exec sleep 1000"
    process = await sandbox.spawn(argv=["/bin/sh", "-c", script], envs={}, cwd=None, user="user", stdin=False)
    written = asyncio.Event()
    asyncio.get_running_loop().add_reader(process.stdout, written.set)
    await written.wait()
    print("up", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_daemon(end: signal.Signals, tmp_path: Path) -> None:
    """When the daemon is killed, every process of its sandboxes is gone, those in sessions of their own too."""
    daemon = subprocess.Popen([sys.executable, "-c", DAEMON, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert daemon.stdout is not None
    try:
        assert daemon.stdout.readline() == "up\n"
        assert _soon(lambda: _sleepers(daemon.pid) == 3)
        children = psutil.Process(daemon.pid).children(recursive=True)
        daemon.send_signal(end)
        daemon.wait(20)
        assert psutil.wait_procs(children, timeout=5)[1] == []
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()


def test_a_launch_that_is_given_up_ends_no_sandbox(unguarded: Callable[..., Launcher]) -> None:
    """What is cancelled before its turn is not done, and the thread by whose life all sandboxes live goes on."""
    launcher, held, done = unguarded(), threading.Event(), list[str]()
    before, given_up = launcher._run(lambda: held.wait(30)), launcher._run(lambda: done.append("launched"))
    assert given_up.cancel()
    held.set()
    assert before.result(30)
    assert launcher._run(lambda: 7).result(30) == 7
    assert done == []


def _sleepers(daemon: int) -> int:
    return sum(_is_sleep(child) for child in psutil.Process(daemon).children(recursive=True))


def _is_sleep(process: psutil.Process) -> bool:
    try:
        return process.name() == "sleep"
    except psutil.NoSuchProcess:
        return False  # a setsid that has done its work


def test_an_interrupt_of_the_terminal_is_not_for_sandboxes(tmp_path: Path) -> None:
    """A Ctrl-C goes to the daemon's process group, in which nothing of a sandbox is."""
    daemon = subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert daemon.stdout is not None
    try:
        assert daemon.stdout.readline() == "up\n"
        children = psutil.Process(daemon.pid).children(recursive=True)
        assert {os.getpgid(child.pid) for child in children}.isdisjoint({os.getpgid(daemon.pid)})
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()


@contextmanager
def _running(program: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Runs a daemon until it has said that it is up, and kills it in the end."""
    command = [sys.executable, "-c", program, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        try:
            assert daemon.stdout is not None
            assert daemon.stdout.readline() == "up\n"
            yield daemon
        finally:
            daemon.kill()


def _soon(happened: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_even_a_stopped_agent_does_not_outlive_it(tmp_path: Path) -> None:
    """An agent that can hear of nothing ends with its daemon, by the kernel's word alone."""
    for number, without in enumerate(([], ["death with the daemon"])):
        with _running(DAEMON, str(tmp_path / f"{number}"), *without) as daemon:
            children = psutil.Process(daemon.pid).children(recursive=True)
            agent = next(child for child in children if AGENT in child.cmdline() and "--args" not in child.cmdline())
            agent.suspend()
            daemon.kill()
            daemon.wait(20)
            try:
                assert (psutil.wait_procs([agent], timeout=3 if without else 20)[1] == []) == (not without)
            finally:
                for child in children:
                    with suppress(psutil.NoSuchProcess):
                        child.kill()


# Bubblewrap waits here after it has made its child and before it has told it anything.
HALF_STARTED = """
import asyncio, os, subprocess, sys
from pathlib import Path
from types import SimpleNamespace
from e2b_magic.embedded.containment import bubblewrap, launcher as module
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.sandbox.machine import Machine
from e2b_magic.embedded.sandbox.preflight import prepare
from e2b_magic.embedded.sandbox.sandbox import Sandbox

async def main():
    directory = Path(sys.argv[1])
    launcher, _ = await prepare(directory)
    launcher.groups = None  # whose processes any server that starts on this machine ends, once this one is dead
    launcher._without = frozenset({"nested namespaces"})  # with which it cannot wait
    reading, writing = os.pipe()
    environment = bubblewrap._environment

    def waiting(layout):
        yield bubblewrap.Rule("wait", ("--userns-block-fd", str(reading)))
        yield from environment(layout)

    def popen(*words, pass_fds, **options):
        # The other end too, or the daemon's death would be what it waits for.
        return subprocess.Popen(*words, pass_fds=[*pass_fds, reading, writing], **options)

    bubblewrap._environment = waiting
    module.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": popen})
    find = Machine._find_agent

    async def found(self):
        agent = await find(self)
        # Told by a bubblewrap that will die with the daemon: a moment earlier both would be left.
        print("up", flush=True)
        return agent

    Machine._find_agent = found
    await Sandbox.start(
        sandbox_id="one", directory=directory / sys.argv[2], envs={}, limits=Limits(), launcher=launcher
    )

asyncio.run(main())
"""


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_what_was_half_started_is_ended_by_the_next(tmp_path: Path) -> None:
    """What waits for a bubblewrap that died with its daemon would wait for ever: whoever removes its files ends it."""
    name = f"i{0:020x}"
    with _running(HALF_STARTED, str(tmp_path), name) as daemon:
        (bubblewrap,) = psutil.Process(daemon.pid).children()
        (waiting,) = bubblewrap.children()
        daemon.kill()
        daemon.wait(20)
    assert _soon(lambda: not _lives(bubblewrap))
    assert waiting.cmdline()[0] == leftover.title(Path(name))
    assert reclaim(tmp_path) == [name]
    assert _soon(lambda: not _lives(waiting))


def test_a_title_alone_is_no_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user's server ends what has the title of a sandbox's start, and nothing that has another's."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    states = [tmp_path / "one", tmp_path / "other"]
    sleeping = [subprocess.Popen([leftover.title(state), "60"], executable="/bin/sleep") for state in states]
    try:
        leftover.end(1000, states[0])
        assert [process.poll() for process in sleeping] == [-signal.SIGKILL, None]
    finally:
        for process in sleeping:
            process.kill()
            process.wait()


async def test_a_kill_need_not_wait_for_the_disk(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """While unmounting takes its time, a kill that does not want the files returns, with every process dead."""
    may_go = threading.Event()
    unmount = machine._unmount

    def slowly(mounts: int, done: Callable[[], object]) -> None:
        may_go.wait(60)
        unmount(mounts, done)

    monkeypatch.setattr(machine, "_unmount", slowly)
    sandbox = await start()
    if sandbox._machine._mounts is None:
        pytest.skip("the kernel does not let this user hold a sandbox's mounts")
    agent = psutil.Process(sandbox.agent)
    await sandbox.kill(unmounted=False)
    assert not agent.is_running()
    assert not sandbox.ended.done()
    with pytest.raises(ConfigurationError, match="running"):
        await start(directory=sandbox.directory)
    may_go.set()
    assert await sandbox.ended == "it was killed"
    again = await start(directory=sandbox.directory)
    await again.kill()
    assert again.ended.done()
