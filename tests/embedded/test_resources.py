"""The limits of a sandbox, each run into from inside, while the daemon goes on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.containment.limits import MEBIBYTE, Limits
from e2b_magic.embedded.sandbox.disk_usage import disk_usage
from e2b_magic.embedded.sandbox.sandbox import AgentError, Process, Sandbox

pytestmark = pytest.mark.sandbox

Start = Callable[..., Awaitable[Sandbox]]


async def test_a_fork_bomb_ends_at_its_limit(start: Start, run: Any) -> None:
    """Processes end at the sandbox's number; another sandbox, that has no such limit, meets none."""
    probe = (
        "import errno, os, signal\nchildren = []\n"
        "try:\n"
        "  while len(children) < 100:\n"
        "    if (child := os.fork()) == 0: signal.pause()\n"
        "    children.append(child)\n"
        "except OSError as error:\n  print(errno.errorcode[error.errno])\n"
        "print(len(children))\nfor child in children: os.kill(child, 9)"
    )
    bounded, free = await start(Limits(processes=40)), await start(Limits(processes=None))
    ran = await run(bounded, "python3", "-c", probe)
    name, count = ran.out.split()
    assert (name, int(count) < 40) == ("EAGAIN", True)
    assert (await run(free, "python3", "-c", probe)).out.split() == ["100"]


async def test_a_full_sandbox_says_so(start: Start, run: Any) -> None:
    """When no process can be started any more, that is the error, files can still be read, and killing makes room."""
    sandbox = await start(Limits(processes=8))

    async def sleeper() -> Process:
        return await sandbox.spawn(argv=["sleep", "60"], envs={}, cwd=None, user="user", stdin=False)

    held = [await sleeper() for _ in range(7)]
    with pytest.raises(AgentError) as raised:
        await sleeper()
    assert raised.value.code == "exhausted"
    await sandbox.list_directory("/", "user")
    for process in held:
        await sandbox.signal(process.pid, 9)
        await process.exited
        process.close()
    assert (await run(sandbox, "echo again")).out == "again\n"


async def test_memory_of_a_process_ends_at_its_limit(
    start: Start, run: Any, unguarded: Callable[..., Launcher]
) -> None:
    """Without a control group a process that wants more memory than it may have fails; one below the limit does not."""
    sandbox = await start(Limits(memory_bytes=256 * MEBIBYTE), by=unguarded())
    ran = await run(sandbox, "python3", "-c", "x = bytearray(1 << 30)")
    assert "MemoryError" in ran.error
    assert (await run(sandbox, "python3", "-c", "x = bytearray(100 << 20); print('fits')")).out == "fits\n"


async def test_node_runs_within_the_default_limits(sandbox: Sandbox, run: Any) -> None:
    """V8 reserves far more address space than it uses, and runs under the bound on memory that is the default."""
    if (await run(sandbox, "command -v node")).status.code != 0:
        pytest.skip("no node on this host")
    ran = await run(sandbox, "node", "-e", "console.log(6 * 7)")
    assert (ran.out, ran.status.code) == ("42\n", 0), ran


async def test_open_files_end_at_their_limit(start: Start, run: Any) -> None:
    """Descriptors end at the sandbox's number, which cannot be raised."""
    sandbox = await start(Limits(open_files=100))
    probe = "import os\ntry:\n  while True: last = os.open('/dev/null', 0)\nexcept OSError as e: print(e.errno, last)"
    assert (await run(sandbox, "python3", "-c", probe)).out == "24 99\n"
    assert "cannot modify limit" in (await run(sandbox, "ulimit -n 1000")).error


async def test_a_file_ends_at_its_limit(start: Start, run: Any) -> None:
    """A file that grows past the limit ends who writes it."""
    sandbox = await start(Limits(file_bytes=MEBIBYTE))
    ran = await run(sandbox, "head -c 5000000 /dev/zero > big; stat -c %s big")
    assert ran.out == f"{MEBIBYTE}\n"


async def test_a_flood_of_output_waits(sandbox: Sandbox) -> None:
    """Output that nobody reads stops its writer, and takes no memory of the daemon's."""
    before = psutil.Process().memory_info().rss
    process = await sandbox.spawn(argv=["yes"], envs={}, cwd=None, user="user", stdin=False)
    await asyncio.sleep(0.5)
    assert psutil.Process().memory_info().rss - before < 10 * MEBIBYTE
    assert (await sandbox.stat("/", "user")).type == "directory"
    await sandbox.signal(process.pid, 9)
    await process.exited
    process.close()


async def test_a_disk_fill_is_stopped(start: Start, run: Any) -> None:
    """Who writes past the quota is killed, nothing more is written by the file API, and removing makes room again."""
    sandbox = await start(Limits(disk_bytes=30 * MEBIBYTE, file_bytes=500 * MEBIBYTE))
    script = "for i in $(seq 400); do head -c 1000000 /dev/zero > f$i; sleep 0.01; done"
    ran = await run(sandbox, script)
    assert ran.status.signal == 9
    assert 30 * MEBIBYTE < sandbox.disk_used < 200 * MEBIBYTE
    with pytest.raises(AgentError) as raised:
        await sandbox.open_write("more", "user", metadata=None)
    assert raised.value.code == "no_space"
    await run(sandbox, "rm -f f*")
    for _ in range(100):
        await asyncio.sleep(0.05)
        if sandbox.disk_used < 30 * MEBIBYTE:
            break
    os.close((await sandbox.open_write("more", "user", metadata=None))[0])


async def test_what_hides_from_the_sum_is_found(start: Start, run: Any, tmp_path: Path) -> None:
    """Bytes in a directory that nobody may enter are counted; those behind a link, or of a second name, are not."""
    sandbox = await start(directory=tmp_path / "box")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "big").write_bytes(bytes(5_000_000))
    base = _sum(tmp_path / "box")
    await run(sandbox, f"mkdir d; head -c 1000000 /dev/zero > d/f; ln d/f g; chmod 0 d; ln -s {tmp_path}/outside out")
    assert 1_000_000 <= _sum(tmp_path / "box") - base < 1_100_000


async def test_a_deep_tree_is_no_reason_to_kill(start: Start, run: Any) -> None:
    """Directories nested past all reason, and shut ones, are counted; what runs beside them runs on."""
    sandbox = await start(Limits(disk_bytes=30 * MEBIBYTE))
    await run(sandbox, "for i in $(seq 300); do mkdir d; cd d; done; head -c 1000000 /dev/zero > f; chmod 0 ~/d")
    summed = sandbox.disk_used
    async with asyncio.timeout(30):
        while sandbox.disk_used in (0, summed):  # noqa: ASYNC110 - the sum is taken now and then
            await asyncio.sleep(0.05)
    assert MEBIBYTE < sandbox.disk_used + 100_000 < 30 * MEBIBYTE
    assert (await run(sandbox, "stat -c %a ~/d")).out == "0\n"


def _sum(directory: Path) -> int:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        return disk_usage(descriptor)
    finally:
        os.close(descriptor)
