"""Control groups: what they bound, count and freeze, that a server leaves none, and where they can be made."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from e2b_magic.embedded.containment.cgroups import ControlGroups
from e2b_magic.embedded.containment.hierarchies import Place, find_places, is_mounted
from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.containment.limits import MEBIBYTE, Limits
from e2b_magic.embedded.containment.usage import Usage, usages_of
from e2b_magic.embedded.sandbox.entries import AgentError
from e2b_magic.embedded.sandbox.sandbox import Sandbox

Start = Callable[..., Awaitable[Sandbox]]
# Memory that is really used, in more than one process, none of which uses much.
HOG = """
import os, time
for _ in range({count}):
    if not os.fork():
        os.closerange(0, 3)
        x = bytearray({size} << 20)
        time.sleep(60)
"""
# Starts a program as the agent does, but does nothing more itself.
HELD_UP = """
import os
from e2b_magic.embedded.agent import oom_score, starting

agent = os.getpid()

class Order(oom_score.Order):
    def restore(self):
        if os.getpid() != agent:
            super().restore()

    def make_expendable(self, pid):
        pass

argv = ["cat", "/proc/self/oom_score_adj", f"/proc/{agent}/oom_score_adj"]
os.waitpid(starting.start("/bin/cat", argv, {}, lambda: None, Order()), 0)
"""
# Makes a program expendable that has started three already: one as usual, one whose parent has ended, one that chose.
LATE = """
import subprocess
from ctypes import CDLL
from pathlib import Path

import psutil
from e2b_magic.embedded.agent.oom_score import Order

CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become its children, as the agent's
order = Order()
order.lend()
chosen = "echo 700 > /proc/self/oom_score_adj; echo; exec sleep 60"
script = f"sleep 60 & (sleep 60 &); sh -c '{chosen}' & wait"
program = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
program.stdout.readline()
order.restore()
order.make_expendable(program.pid)
for process in psutil.Process().children(recursive=True):
    print(Path(f"/proc/{process.pid}/oom_score_adj").read_text())
    process.kill()
program.communicate()
"""


@pytest.fixture
def groups() -> Iterator[ControlGroups]:
    """Gives a server's control groups, where this machine lets us have any."""
    groups = ControlGroups.open()
    if groups is None:
        pytest.skip("control groups cannot be made here")
    yield groups
    groups.close()


@pytest.fixture
def child(groups: ControlGroups) -> Iterator[subprocess.Popen[bytes]]:
    """Gives a process that counts as fast as it can."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    yield process
    process.kill()
    process.wait()


def needs(sandbox: Sandbox, controller: str) -> None:
    """Skips a test where the kernel does not do for the sandbox what it is about."""
    if sandbox.group is None or controller not in sandbox.group.controllers:
        pytest.skip(f"no control group with {controller} can be made here")


def _usage(sandbox: Sandbox) -> Usage:
    usage = sandbox.group.usage() if sandbox.group is not None else None
    assert usage is not None
    return usage


async def _usage_after_a_kill(sandbox: Sandbox) -> Usage:
    """Gives what a sandbox uses when the kernel has killed one of its processes, or has not within ten seconds."""
    for _ in range(200):
        usage = _usage(sandbox)
        if usage.killed_for_memory:
            break
        await asyncio.sleep(0.05)
    return usage


@pytest.mark.control_groups
async def test_the_memory_of_all_processes_together_is_bounded(start: Start, run: Any) -> None:
    """Ten processes that together use too much are killed until the rest fits; the sandbox and the daemon go on."""
    sandbox = await start(Limits(memory_bytes=256 * MEBIBYTE))
    needs(sandbox, "memory")
    await run(sandbox, "python3", "-c", HOG.format(count=10, size=60))
    usage = await _usage_after_a_kill(sandbox)
    assert usage.killed_for_memory > 0
    assert usage.memory_bytes <= 256 * MEBIBYTE
    assert (await run(sandbox, "echo on")).out == "on\n"


@pytest.mark.sandbox
async def test_without_a_group_their_sum_is_not_bounded(
    start: Start, run: Any, unguarded: Callable[..., Launcher]
) -> None:
    """The same processes all live where no control group bounds their sum: it is the group that does."""
    sandbox = await start(Limits(memory_bytes=256 * MEBIBYTE), by=unguarded())
    script = HOG.format(count=6, size=60) + "time.sleep(1); os.system('pgrep -c python3')\n"
    assert int((await run(sandbox, "python3", "-c", script)).out) >= 7


@pytest.mark.slow
@pytest.mark.control_groups
async def test_many_small_processes_do_not_cost_the_sandbox(start: Start, run: Any) -> None:
    """When memory is used up by processes smaller than the agent, those are killed and not the agent."""
    sandbox = await start(Limits(memory_bytes=64 * MEBIBYTE))
    needs(sandbox, "memory")
    # Not `sleep` last: bash would become it, and what it holds be given back.
    small = "x=\\$(head -c 1500000 /dev/zero | tr '\\0' x); sleep 2; :"
    script = f'for i in $(seq 40); do bash -c "{small}" >/dev/null 2>&1 & done'
    await run(sandbox, script)
    assert (await _usage_after_a_kill(sandbox)).killed_for_memory > 0
    await asyncio.sleep(3)  # until they have gone: what is asked next could be killed like them
    assert not sandbox.ended.done()
    told = await run(sandbox, "sleep 0.2; cat /proc/self/oom_score_adj; cat /proc/1/oom_score_adj")
    own, agents = told.out.split()
    assert int(own) == 1000
    assert int(agents) < 1000


@pytest.mark.sandbox
async def test_an_agent_goes_after_what_it_starts(start: Start, run: Any) -> None:
    """Its score stays below that of commands while it starts some, and is its own when a program has begun."""
    sandbox = await start()
    own = _score(sandbox.agent)
    seen: set[int] = set()
    begun, done = threading.Event(), threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add(_score(sandbox.agent))
            begun.set()

    looking = asyncio.create_task(asyncio.to_thread(look))
    await asyncio.to_thread(begun.wait)
    told = [(await run(sandbox, "cat", "/proc/self/oom_score_adj", "/proc/1/oom_score_adj")).out for _ in range(40)]
    done.set()
    await looking
    assert seen <= {own, max(own, 500)}
    assert {line.split()[1] for line in told} == {str(own)}


def test_a_program_goes_before_the_agent_from_its_first_moment() -> None:
    """So it does, and the agent has its own score back, where the agent does not get on as soon as it has forked."""
    ran = subprocess.run([sys.executable, "-c", HELD_UP], capture_output=True, text=True, check=True)
    own = _score(os.getpid())
    assert ran.stdout.split() == [str(max(own, 500)), str(own)]


def test_what_a_program_has_started_already_is_raised_with_it() -> None:
    """So is what has lost its parent meanwhile; a score that a process has chosen for itself is left to it."""
    ran = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=True)
    assert sorted(ran.stdout.split()) == ["1000", "1000", "1000", "700"]


def _score(pid: int) -> int:
    # In one piece: it may change between two.
    with Path(f"/proc/{pid}/oom_score_adj").open("rb", buffering=0) as file:
        return int(file.read(16))


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """Gives a directory whose files lie in memory."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.mark.control_groups
async def test_memory_that_files_use_up_costs_a_command_and_not_the_sandbox(
    start: Start, run: Any, in_memory: Path
) -> None:
    """With nothing left to kill for it, a command is refused in one line, and starts when a file has been removed."""
    sandbox = await start(Limits(memory_bytes=32 * MEBIBYTE), directory=in_memory / "box")
    needs(sandbox, "memory")
    # Until one is killed for the next byte: each has a little less than all to itself.
    for number in range(3):
        with contextlib.suppress(AgentError):
            await run(sandbox, f"head -c 40000000 /dev/zero > /tmp/{number}")
    for _ in range(3):
        with pytest.raises(AgentError, match=r"used up by files.*remove some"):
            await run(sandbox, "true")
    for number in range(3):
        await sandbox.remove(f"/tmp/{number}", "user")
    assert (await run(sandbox, "echo on")).out == "on\n"


@pytest.mark.sandbox
async def test_files_in_shared_memory_leave_half_of_it(start: Start, run: Any) -> None:
    """Where `/dev/shm` could have all of a sandbox's memory it has half: commands start when it is full."""
    sandbox = await start(Limits(memory_bytes=64 * MEBIBYTE))
    ran = await run(sandbox, "df --output=size -B1 /dev/shm; head -c 60000000 /dev/zero > /dev/shm/big; echo $?")
    assert ran.out.split() == ["1B-blocks", str(32 * MEBIBYTE), "1"]
    assert (await run(sandbox, "echo on")).out == "on\n"


@pytest.mark.control_groups
async def test_the_end_of_a_sandbox_by_want_of_memory_is_told(start: Start) -> None:
    """When the kernel has killed the first process for memory after all, that is the reason, and not that it ended."""
    sandbox = await start(Limits(memory_bytes=32 * MEBIBYTE))
    needs(sandbox, "memory")
    assert sandbox.group is not None
    usage = replace(_usage(sandbox), killed_for_memory=1)
    sandbox.group.usage = lambda: usage  # type: ignore[method-assign]  # nothing makes the kernel do that for certain
    psutil.Process(sandbox.agent).kill()
    assert "memory was used up" in await asyncio.wait_for(sandbox.ended, 10)


@pytest.mark.control_groups
async def test_processes_are_bounded_by_the_group_too(start: Start, run: Any) -> None:
    """The group knows the sandbox's number of processes and counts those that are there."""
    sandbox = await start(Limits(processes=40))
    needs(sandbox, "pids")
    assert sandbox.group is not None
    (place,) = [place for place in sandbox.group._directories if "pids" in place.controllers]
    assert (place.path / "pids.max").read_text() == "40\n"
    assert int((place.path / "pids.current").read_text()) == 1


@pytest.mark.control_groups
async def test_processor_time_is_bounded(start: Start, run: Any) -> None:
    """A sandbox with half a processor uses no more than that."""
    sandbox = await start(Limits(cpus=0.5))
    needs(sandbox, "cpu")
    ran = await run(
        sandbox,
        "python3",
        "-c",
        "import time\nbegan = time.monotonic()\nwhile time.monotonic() - began < 2: pass\nprint(time.process_time())",
    )
    assert 0 < float(ran.out) < 1.3


@pytest.mark.control_groups
async def test_what_is_frozen_stands_still_and_can_be_killed(start: Start, run: Any) -> None:
    """Frozen, a sandbox uses no processor time; thawed it goes on; killed while frozen it ends."""
    sandbox = await start()
    needs(sandbox, "freezer")
    group = sandbox.group
    assert group is not None
    process = await sandbox.spawn(
        argv=["python3", "-c", "while True: pass"], envs={}, cwd=None, user="user", stdin=False
    )
    await asyncio.sleep(0.3)
    group.freeze()
    before = psutil.Process(sandbox.agent).children()[0].cpu_times()
    await asyncio.sleep(0.5)
    assert psutil.Process(sandbox.agent).children()[0].cpu_times() == before
    group.thaw()
    assert (await run(sandbox, "echo on")).out == "on\n"
    group.freeze()
    await asyncio.wait_for(sandbox.kill(), 10)
    process.close()


@pytest.mark.slow
@pytest.mark.control_groups
async def test_a_group_counts_as_the_list_of_processes_does(start: Start, run: Any) -> None:
    """Processor time and memory from the group and from `/proc` are of the same order."""
    sandbox = await start()
    needs(sandbox, "memory")
    script = "import time\nx = bytearray(b'x') * (100 << 20)\nwhile time.process_time() < 0.6: pass\ntime.sleep(60)"
    process = await sandbox.spawn(argv=["python3", "-c", script], envs={}, cwd=None, user="user", stdin=False)
    for _ in range(200):
        await asyncio.sleep(0.05)
        listed = usages_of([sandbox.agent])[sandbox.agent]
        if listed.cpu_seconds > 0.5 and listed.memory_bytes > 100 * MEBIBYTE:
            break
    else:
        pytest.fail(f"what it does is not seen: {listed}")
    counted = _usage(sandbox)
    assert counted.memory_bytes == pytest.approx(listed.memory_bytes, rel=0.5)
    assert counted.cpu_seconds == pytest.approx(listed.cpu_seconds, rel=0.7)
    await sandbox.signal(process.pid, 9)
    await process.exited
    process.close()


@pytest.mark.control_groups
async def test_a_sandbox_leaves_no_group(start: Start, run: Any) -> None:
    """When a sandbox has ended, its group is gone with it."""
    sandbox = await start()
    if sandbox.group is None:
        pytest.skip("control groups cannot be made here")
    directories = [place.path for place in sandbox.group._directories]
    assert all(path.is_dir() for path in directories)
    await run(sandbox, "sleep 60 >/dev/null 2>&1 & sleep 60 >/dev/null 2>&1 &")
    await sandbox.kill()
    for _ in range(100):
        if sandbox.group.remove():
            break
        await asyncio.sleep(0.05)
    assert not any(path.exists() for path in directories)


def test_a_process_in_a_group_is_counted_and_killed(groups: ControlGroups, child: subprocess.Popen[bytes]) -> None:
    """What is put into a group is in it, and ends with it, frozen as it may be."""
    group = groups.create("one", Limits())
    group.add(child.pid)
    if "freezer" in group.controllers:
        group.freeze()
    group.end()
    assert child.wait(10) == -signal.SIGKILL
    assert not any(place.path.exists() for place in group._directories)


KILLED = """
import os, subprocess, sys
from e2b_magic.embedded.containment.cgroups import ControlGroups
from e2b_magic.embedded.containment.limits import Limits
groups = ControlGroups.open()
group = groups.create("left", Limits())
process = subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL)
group.add(process.pid)
if "freezer" in group.controllers:
    group.freeze()
print(process.pid, *[place.path for place in group._directories], flush=True)
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_server_left_is_removed_by_the_next(groups: ControlGroups) -> None:
    """Groups, and frozen processes in them, that a server left which was killed are gone when another has started."""
    told = subprocess.run([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, check=False).stdout.split()
    left = psutil.Process(int(told[0]))
    assert all(Path(path).is_dir() for path in told[1:])
    second = ControlGroups.open()
    assert second is not None
    second.close()
    assert not any(Path(path).parent.exists() for path in told[1:])
    assert psutil.wait_procs([left], timeout=10)[1] == []


@pytest.mark.root("makes groups of version 1, which no ordinary user may")
@pytest.mark.control_groups
@pytest.mark.parametrize("ended_by", ["its server", "the next server"])
def test_what_version_one_has_frozen_ends_too(tmp_path: Path, ended_by: str) -> None:
    """Where there is version 1 alone, a frozen sandbox ends with its server's groups, or with the next server's."""
    mounts = Path("/proc/self/mountinfo").read_text()
    ones = "".join(line for line in mounts.splitlines(keepends=True) if " - cgroup " in line)
    proc = _machine(tmp_path / "proc", Path("/proc/self/cgroup").read_text(), ones)
    groups = ControlGroups.open(proc)
    if groups is None or not {"freezer", "memory"} <= groups.controllers:
        pytest.skip("control groups of version 1 cannot be made here")
    process = subprocess.Popen(["sleep", "1000"])
    group = groups.create("one", Limits())
    try:
        group.add(process.pid)
        group.freeze()
        if ended_by == "the next server":
            for lock in groups._locks:
                os.close(lock)  # as a killed one's are
            next_one = ControlGroups.open(proc)
            assert next_one is not None
            groups = next_one
        groups.close()
        assert process.wait(10) == -signal.SIGKILL
        assert not any(place.path.parent.exists() for place in group._directories)
    finally:
        group.end()
        process.wait(10)


def test_a_living_server_keeps_its_groups(groups: ControlGroups, child: subprocess.Popen[bytes]) -> None:
    """A second server that starts leaves the first one's groups, and what is in them, alone."""
    group = groups.create("one", Limits())
    group.add(child.pid)
    second = ControlGroups.open()
    assert second is not None
    second.close()
    assert child.poll() is None
    assert all(place.path.is_dir() for place in group._directories)
    group.end()


def _machine(directory: Path, groups: str, mounts: str) -> Path:
    (directory / "self").mkdir(parents=True)
    (directory / "self" / "cgroup").write_text(groups)
    (directory / "self" / "mountinfo").write_text(mounts)
    return directory


def _group(path: Path, controllers: str = "", handed: str = "", *, writable: bool = True) -> Path:
    path.mkdir(parents=True)
    for name, text in (("procs", ""), ("controllers", controllers), ("subtree_control", handed)):
        (path / f"cgroup.{name}").write_text(text)
    (path / "cgroup.procs").chmod(0o644 if writable else 0o444)
    return path


def _mount(point: Path, kind: str = "cgroup2", options: str = "rw", root: str = "/") -> str:
    return f"30 25 0:26 {root} {point} rw,nosuid shared:4 - {kind} {kind} {options}\n"


needs_ordinary = pytest.mark.skipif(os.geteuid() == 0, reason="root may write whatever the mode says")


def test_the_nearest_group_that_hands_memory_on_is_taken(tmp_path: Path) -> None:
    """Of the groups above our own, which holds processes, the first that hands the memory controller on is taken."""
    top = _group(tmp_path / "fs", "cpu memory pids", "memory pids")
    slice_ = _group(top / "app.slice", "memory pids", "memory pids")
    _group(slice_ / "term.scope", "memory pids")
    proc = _machine(tmp_path / "proc", "0::/app.slice/term.scope\n", _mount(top))
    assert find_places(proc) == [Place(2, slice_, frozenset({"memory", "pids"}))]


@needs_ordinary
def test_beyond_what_is_delegated_nothing_is_looked_for(tmp_path: Path) -> None:
    """Where the group above is root's, our own is taken, without controllers; where that is too, none."""
    top = _group(tmp_path / "fs", "memory pids", "memory pids", writable=False)
    own = _group(top / "session.scope")
    proc = _machine(tmp_path / "proc", "0::/session.scope\n", _mount(top))
    assert find_places(proc) == [Place(2, own, frozenset())]
    (own / "cgroup.procs").chmod(0o444)
    assert find_places(proc) == []
    assert is_mounted(proc)


def test_version_one_takes_our_own_group_in_each_tree(tmp_path: Path) -> None:
    """Of version 1 the group that the server is in is taken, so that its bounds hold for the sandboxes too."""
    memory = _group(tmp_path / "memory" / "docker" / "x")
    cpu = _group(tmp_path / "cpu" / "a")
    groups = "4:memory:/docker/x\n3:cpu,cpuacct:/a\n2:devices:/\n1:name=systemd:/\n"
    mounts = (
        _mount(tmp_path / "memory", "cgroup", "rw,memory")
        + _mount(tmp_path / "cpu", "cgroup", "rw,cpu,cpuacct")
        + _mount(tmp_path / "devices", "cgroup", "rw,devices")
    )
    proc = _machine(tmp_path / "proc", groups, mounts)
    assert sorted(find_places(proc), key=lambda place: str(place.path)) == [
        Place(1, cpu, frozenset({"cpu", "cpuacct"})),
        Place(1, memory, frozenset({"memory"})),
    ]


def test_a_group_outside_the_namespace_is_in_no_directory(tmp_path: Path) -> None:
    """In a container whose own group lies above what it sees, nothing is made; nor where no tree is mounted."""
    proc = _machine(tmp_path / "proc", "0::/../x\n", _mount(_group(tmp_path / "fs")))
    assert find_places(proc) == []
    assert find_places(tmp_path / "nothing") == []
    assert not is_mounted(tmp_path / "nothing")


def test_a_mount_of_a_part_and_odd_names_are_understood(tmp_path: Path) -> None:
    """A tree that is mounted from a group on, at a path with a space, is found."""
    own = _group(tmp_path / "c g" / "b", "memory")
    point = str(tmp_path / "c g").replace(" ", "\\040")
    proc = _machine(tmp_path / "proc", "0::/a/b\n", _mount(Path(point), root="/a"))
    assert [place.path for place in find_places(proc)] == [own]
