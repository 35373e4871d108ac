"""Files that are the kernel's doors, odd files and odd requests: none reaches the host, and none ends the sandbox."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from e2b_magic.embedded.sandbox.channel import Violation
from e2b_magic.embedded.sandbox.outward import check_file
from e2b_magic.embedded.sandbox.sandbox import AgentError, Sandbox

from .conftest import Run

pytestmark = pytest.mark.sandbox


def _content(descriptor: int) -> bytes:
    try:
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)


def _last_pid() -> int:
    return int(Path("/proc/sys/kernel/ns_last_pid").read_text(encoding="ascii"))


async def test_a_file_of_proc_is_read_as_the_sandbox_reads_it(sandbox: Sandbox, run: Run) -> None:
    """The file API gives of /proc what a command inside sees: the sandbox's own host name, not the host's."""
    descriptor, _ = await sandbox.open_read("/proc/sys/kernel/hostname", "user")
    assert _content(descriptor) == b"sandbox\n"
    descriptor, _ = await sandbox.open_read("/proc/sys/kernel/random/boot_id", "user")
    inside = await run(sandbox, "cat /proc/sys/kernel/random/boot_id")
    assert _content(descriptor).decode() == inside.out


@pytest.mark.parametrize("path", ["/proc/sys/kernel/ns_last_pid", "/home/user/link"])
async def test_a_file_of_proc_is_not_written(sandbox: Sandbox, run: Run, path: str) -> None:
    """Writing to a kernel's file, also by way of a link that was planted, is refused and changes nothing."""
    await run(sandbox, "ln -s /proc/self/oom_score_adj /home/user/link")
    before = _last_pid()
    with pytest.raises(AgentError) as caught:
        await sandbox.open_write(path, "user", metadata=None)
    assert caught.value.code == "permission_denied"
    assert abs(_last_pid() - before) < 1000
    assert not sandbox.ended.done()


def test_the_daemon_refuses_what_a_lying_agent_hands_out() -> None:
    """A descriptor of /proc is a violation, whoever opened it: the daemon asks the kernel, not the agent."""
    descriptor = os.open("/proc/self/status", os.O_RDONLY)
    try:
        with pytest.raises(Violation, match="proc"):
            check_file(descriptor)
    finally:
        os.close(descriptor)


async def test_an_impossible_date_is_told_as_the_latest(sandbox: Sandbox, run: Run) -> None:
    """A file that claims a year beyond the protocol's is listed like any other."""
    await run(sandbox, "touch -d @999999999999 /dev/shm/x")
    (entry,) = [entry for entry in await sandbox.list_directory("/dev/shm", "user") if entry.name == "x"]
    assert entry.modified_time <= 253402300799


async def test_a_very_deep_tree_is_copied(sandbox: Sandbox, run: Run) -> None:
    """A tree deeper than Python's stack goes from one mount to another, and the sandbox lives on."""
    script = (
        "import os\nos.mkdir('t'); os.chdir('t')\nfor n in range(1300): os.mkdir('d'); os.chdir('d')\nopen('end', 'w')"
    )
    made = await run(sandbox, "python3", "-c", script, cwd="/tmp")
    assert made.status.code == 0
    await sandbox.move("/tmp/t", "/home/user/t", "user")
    assert (await run(sandbox, "find t -name end | wc -l")).out == "1\n"


@pytest.mark.parametrize("argv", [["a\0b"], ["true", "a\0b"]])
async def test_a_nul_is_refused(sandbox: Sandbox, argv: list[str]) -> None:
    """A NUL in a program's name or argument is the asker's slip, and does not end the sandbox."""
    with pytest.raises(AgentError) as caught:
        await sandbox.spawn(argv=argv, envs={}, cwd=None, user="user", stdin=False)
    assert caught.value.code == "invalid_argument"
    with pytest.raises(AgentError):
        await sandbox.spawn(argv=["true"], envs={"PATH": "\0"}, cwd=None, user="user", stdin=False)
    assert not sandbox.ended.done()
    await asyncio.sleep(0.05)
    assert (await sandbox.stat("/home/user", "user")).type == "directory"


async def test_a_directory_that_is_too_large_is_named(sandbox: Sandbox, run: Run) -> None:
    """What is too much for one answer is refused with another way to list it."""
    await run(sandbox, "mkdir many && cd many && seq -f 'a-rather-long-name-for-a-file-%g' 60000 | xargs touch")
    with pytest.raises(AgentError, match="such as ls") as caught:
        await sandbox.list_directory("/home/user/many", "user")
    assert caught.value.code == "exhausted"
