"""Frozen, a sandbox stands still, whatever runs in it; thawed, it goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import psutil
import pytest

from e2b_magic.embedded.containment.freezing import FreezeError, Hold
from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.sandbox.sandbox import AgentError, Process, Sandbox

pytestmark = pytest.mark.sandbox

Start = Callable[..., Awaitable[Sandbox]]

# Sends itself a SIGCONT every millisecond, by a timer that goes on when it is stopped, and keeps tracers of its own
# user away: all that a process can do against being stopped.
RESTLESS = """
import ctypes, signal
signal.signal(signal.SIGCONT, lambda *_: None)
libc = ctypes.CDLL(None)
libc.prctl(4, 0, 0, 0, 0)
class Event(ctypes.Structure):
    _fields_ = [("value", ctypes.c_void_p), ("signal", ctypes.c_int), ("how", ctypes.c_int), ("_", ctypes.c_int * 12)]
timer, times = ctypes.c_void_p(), (ctypes.c_long * 4)(0, 1000000, 0, 1000000)
assert libc.timer_create(1, ctypes.byref(Event(None, 18, 0)), ctypes.byref(timer)) == 0
assert libc.timer_settime(timer, 0, times, None) == 0
print("up", flush=True)
while True:
    pass
"""
# Traces its child, which runs on by itself, and blocks all signals that may be blocked.
TRACED = """
import ctypes, os, signal
libc = ctypes.CDLL(None)
child = os.fork()
if not child:
    libc.ptrace(0, 0, None, None)
    os.kill(os.getpid(), signal.SIGSTOP)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))
    print("up", flush=True)
    while True:
        pass
os.waitpid(child, 0)
libc.ptrace(7, child, None, None)
os.waitpid(child, 0)
libc.ptrace(7, child, None, None)
signal.pause()
"""
# Waits in the kernel until its child ends or becomes another program, which it never does.
BORROWED = """
import ctypes
libc = ctypes.CDLL(None)
print("up", flush=True)
if libc.vfork() == 0:
    libc.pause()
"""
THREADS = """
import threading
def spin():
    while True:
        threading.Event().wait(0.001)
for _ in range(20):
    threading.Thread(target=spin).start()
print("up", flush=True)
"""
FORKS = "echo up; while true; do (exec sleep 0.001) & wait -n; done"


async def _spawn(sandbox: Sandbox, *argv: str) -> Process:
    """Starts a program, and returns when it has said that it is up."""
    process = await sandbox.spawn(argv=argv, envs={}, cwd=None, user="user", stdin=True)
    while True:
        try:
            assert os.read(process.stdout, 64).startswith(b"up")
        except BlockingIOError:
            await asyncio.sleep(0.01)
        else:
            return process


def _inside(agent: int) -> list[psutil.Process]:
    first = psutil.Process(agent)
    return [first, *first.children(recursive=True)]


def _ticks(processes: list[psutil.Process]) -> list[tuple[int, int]]:
    """Gives what each has used of the processors, and how often it has been on one."""
    told = []
    for process in processes:
        used = process.cpu_times()
        switches = process.num_ctx_switches()
        told.append((round((used.user + used.system) * 1e6), switches.voluntary + switches.involuntary))
    return told


@pytest.mark.parametrize(
    "argv",
    [
        ("python3", "-c", RESTLESS),
        ("python3", "-c", TRACED),
        ("python3", "-c", BORROWED),
        ("python3", "-c", THREADS),
        ("bash", "-c", FORKS),
    ],
    ids=["restless", "traced", "borrowed", "threads", "forks"],
)
@pytest.mark.parametrize("grouped", [True, False], ids=["as here", "traced"])
async def test_nothing_runs_while_it_is_frozen(
    start: Start, launcher: Launcher, unguarded: Callable[..., Launcher], argv: tuple[str, ...], *, grouped: bool
) -> None:
    """Whatever a process does to go on, none is on a processor while the sandbox is frozen, and it goes on after.

    With what this machine has for it, and without control groups.
    """
    sandbox = await start(by=launcher if grouped else unguarded())
    process = await _spawn(sandbox, *argv)
    await sandbox.freeze()
    frozen = _inside(sandbox.agent)
    before = _ticks(frozen)
    await asyncio.sleep(0.5)
    assert _ticks(frozen) == before
    assert _inside(sandbox.agent) == frozen
    await sandbox.thaw()
    assert (await sandbox.stat("/", "user")).path == "/"
    process.close()


async def test_a_stop_by_signal_would_not_hold(sandbox: Sandbox) -> None:
    """The restless process goes on by itself after a SIGSTOP: that is why sandboxes are not frozen by signals."""
    process = await _spawn(sandbox, "python3", "-c", RESTLESS)
    (restless,) = _inside(sandbox.agent)[1:]
    restless.send_signal(signal.SIGSTOP)
    before = _ticks([restless])
    for _ in range(400):  # however busy the machine is
        await asyncio.sleep(0.05)
        if _ticks([restless]) != before:
            break
    assert _ticks([restless]) != before
    process.close()


async def test_a_question_waits(sandbox: Sandbox) -> None:
    """What is asked of a frozen sandbox is answered when it goes on."""
    await sandbox.freeze()
    asked = asyncio.ensure_future(sandbox.stat("/home/user", "user"))
    done, _ = await asyncio.wait({asked}, timeout=0.3)
    assert not done
    await sandbox.thaw()
    assert (await asked).path == "/home/user"


async def test_a_signal_waits(sandbox: Sandbox) -> None:
    """A signal that comes just before or while a process is frozen is not lost."""
    script = "trap 'echo caught; exit 3' TERM; echo up; while true; do sleep 0.01; done"
    process = await _spawn(sandbox, "bash", "-c", script)
    await sandbox.freeze()
    os.kill(_inside(sandbox.agent)[1].pid, signal.SIGTERM)
    await sandbox.thaw()
    assert (await process.exited).code == 3
    process.close()


async def test_a_shell_sees_nothing_of_it(sandbox: Sandbox) -> None:
    """A shell with job control does not take its job for stopped, as it would after a stop by signal."""
    script = "set -m; echo up; sleep 1 & wait -f %1; echo $?; jobs -s"
    process = await _spawn(sandbox, "bash", "-c", script)
    await sandbox.freeze()
    await asyncio.sleep(0.2)
    await sandbox.thaw()
    assert (await process.exited).code == 0
    assert os.read(process.stdout, 64) == b"0\n"
    process.close()


async def test_a_frozen_sandbox_can_be_killed(sandbox: Sandbox) -> None:
    """Killed while it is frozen a sandbox ends whole; to thaw it then is no mistake, to freeze it an error."""
    process = await _spawn(sandbox, "python3", "-c", RESTLESS)
    await sandbox.freeze()
    frozen = _inside(sandbox.agent)
    await sandbox.kill()
    assert psutil.wait_procs(frozen, timeout=5)[1] == []
    await sandbox.thaw()
    with pytest.raises(AgentError, match="ended"):
        await sandbox.freeze()
    process.close()


async def test_one_whose_agent_dies_is_seen_to_be_gone(sandbox: Sandbox) -> None:
    """A frozen sandbox whose first process is killed from outside, as for lack of memory, is over when it goes on."""
    await sandbox.freeze()
    os.kill(sandbox.agent, signal.SIGKILL)
    await sandbox.thaw()
    assert await asyncio.wait_for(sandbox.ended, 10)


async def test_what_cannot_be_traced_is_an_error(start: Start) -> None:
    """Where there is no such process the hold is not taken, and the error is a typed one."""
    hold = Hold(2**22)
    with pytest.raises(FreezeError):
        await asyncio.wrap_future(hold.taken)
    await asyncio.wrap_future(hold.ended)


async def test_freezing_again_and_again_loses_nothing(sandbox: Sandbox) -> None:
    """A process that counts, frozen and thawed many times, comes to its end with every line written."""
    script = "echo up; for i in $(seq 2000); do echo $i; done"
    process = await _spawn(sandbox, "bash", "-c", script)
    for _ in range(20):
        await sandbox.freeze()
        await sandbox.thaw()
    assert (await process.exited).code == 0
    process.close()


async def test_only_the_sandbox_is_frozen(start: Start) -> None:
    """Another sandbox runs on."""
    first, second = await start(), await start()
    await first.freeze()
    assert (await second.stat("/", "user")).path == "/"
    await first.thaw()
