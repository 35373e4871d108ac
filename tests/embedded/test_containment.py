"""The doors of a sandbox, each tried from inside; and where one guard shuts one, tried again without that guard."""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from e2b_magic.embedded.containment import identity
from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.sandbox.preflight import Report
from e2b_magic.embedded.sandbox.sandbox import Sandbox

pytestmark = pytest.mark.sandbox

Start = Callable[..., Awaitable[Sandbox]]

# Before each probe in Python: the C library, and a way to tell an outcome by the name of its errno.
PRELUDE = """
import ctypes, errno, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def told(outcome):
    return 'done' if outcome >= 0 else errno.errorcode[ctypes.get_errno()]
def tried(do):
    try:
        do()
    except OSError as error:
        return errno.errorcode[error.errno]
    return 'done'
"""


@dataclass(frozen=True)
class Door:
    """One thing that must not work.

    Attributes:
        name: What it is.
        probe: Python that prints what came of trying.
        shut: What it prints when the door is shut.
        guards: Without which it must print something else; empty where more than one wall stands there.
    """

    name: str
    probe: str
    shut: str
    guards: tuple[str, ...] = ()


def call(number: int, *arguments: object) -> str:
    """Gives a probe that makes a system call by its x86-64 number."""
    words = ", ".join(map(str, (number, *arguments)))
    return f"print(told(libc.syscall({words})))"


X86_ONLY = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are x86-64's")
DOORS = [
    Door("write to /", "print(tried(lambda: open('/fill', 'w')))", "EROFS", ("fixed root",)),
    Door("write to /dev", "print(tried(lambda: open('/dev/z', 'w')))", "EROFS", ("fixed devices",)),
    Door(
        "fill /dev/shm",
        "print(open('/dev/shm/x', 'wb', 0).write(b'x' * (80 << 20)) >> 20)",
        "64",
        ("shared memory", "fixed devices"),
    ),
    Door("trace the agent", "print(told(libc.ptrace(0x4206, 1, 0, 0)))", "EPERM", ("undumpable",)),
    Door("read the agent's environment", "print(tried(lambda: open('/proc/1/environ')))", "EACCES", ("undumpable",)),
    Door("list the agent's descriptors", "print(tried(lambda: os.listdir('/proc/1/fd')))", "EACCES", ("undumpable",)),
    Door(
        "see the host through the agent", "print(tried(lambda: os.listdir('/proc/1/root')))", "EACCES", ("undumpable",)
    ),
    Door("the machine's name", "print(os.uname().nodename)", "sandbox", ("host name",)),
    Door("settings of the kernel", "print(tried(lambda: open('/proc/sys/kernel/core_pattern', 'w')))", "EACCES"),
    Door("a block device", "print(tried(lambda: os.mknod('/tmp/sda', 0o60600, os.makedev(254, 0))))", "EPERM"),
    Door("host accounts", "print(tried(lambda: open('/etc/shadow')))", "ENOENT"),
    Door("the machine's identity", "print(tried(lambda: open('/etc/machine-id')))", "ENOENT"),
    Door(
        "hardware",
        "print([n for n in ('kvm','mem','kmem','fuse','port','sda','vda') if os.path.exists('/dev/' + n)])",
        "[]",
    ),
    Door("/sys", "print(os.path.exists('/sys'))", "False"),
    Door(
        "a way out",
        "s = socket.socket(); s.settimeout(2); print(tried(lambda: s.connect(('169.254.169.254', 80))))",
        "ENETUNREACH",
    ),
    Door("a name server", "print(tried(lambda: socket.socket(2, 2).sendto(b'x', ('8.8.8.8', 53))))", "ENETUNREACH"),
]
CALLS = [
    Door("keyctl", call(250, 0, -3, 1), "EPERM", ("system calls",)),
    Door("add_key", call(248, "b'user'", "b'x'", "b'y'", 1, -3), "EPERM", ("system calls",)),
    Door("kcmp", call(312, "os.getpid()", "os.getpid()", 0, 0, 0), "EPERM", ("system calls",)),
    Door("userfaultfd", call(323, 1), "EPERM", ("system calls",)),
    Door("perf_event_open", call(298, 0, 0, -1, -1, 0), "EPERM", ("system calls",)),
    Door("io_uring_setup", call(425, 0, 0), "ENOSYS", ("system calls",)),
    Door("clone3", call(435, 0, 0), "ENOSYS", ("system calls",)),
    Door("memfd_secret", call(447, 0xFFFF), "ENOSYS", ("system calls",)),
    Door("name_to_handle_at", call(303, -100, 0, 0, 0, 0), "EPERM", ("system calls",)),
    Door("personality", call(135, 0x0400000), "EPERM", ("system calls",)),
    Door("modify_ldt", call(154, 0, 0, 0), "EPERM", ("system calls",)),
    Door("get_mempolicy", call(239, 0, 0, 0, 0, 0), "EPERM", ("system calls",)),
    Door("an x32 call", call(0x40000000 | 39), "ENOSYS"),
    Door("TIOCSTI", "print(told(libc.ioctl(0, 0x5412, b'x')))", "EPERM", ("system calls",)),
    Door(
        "TIOCSTI, with a bit above the 32",
        "print(told(libc.syscall(16, 0, ctypes.c_ulong(0x100005412), b'x')))",
        "EPERM",
        ("system calls",),
    ),
    Door("an odd socket family", "print(tried(lambda: socket.socket(38, 5)))", "EAFNOSUPPORT"),
    Door("AF_VSOCK", "print(tried(lambda: socket.socket(40, 1)))", "EAFNOSUPPORT"),
    Door("AF_PACKET", "print(tried(lambda: socket.socket(17, 3)))", "EAFNOSUPPORT", ("system calls",)),
    Door("mount", call(165, "b'none'", "b'/tmp'", "b'tmpfs'", 0, 0), "EPERM"),
    Door("a nested user namespace", call(272, 0x10000000), "EPERM", ("system calls", "nested namespaces")),
    Door(
        "clone into a user namespace",
        call(56, "0x10000000 | 17", 0, 0, 0, 0),
        "EPERM",
        ("system calls", "nested namespaces"),
    ),
    Door("setns", call(308, 0, 0), "EPERM", ("system calls",)),
    Door("bpf", call(321, 0, 0, 0), "EPERM"),
    Door("open_by_handle_at", call(304, -100, 0, 0), "EPERM", ("system calls",)),
    Door("syslog", call(103, 3, "b' ' * 100", 100), "EPERM"),
    Door("clock_settime", call(227, 0, "b'\\0' * 16"), "EPERM"),
    Door("reboot", call(169, 0, 0, 0, 0), "EPERM"),
    Door("init_module", call(175, 0, 0, "b''"), "EPERM"),
    Door("kexec_load", call(246, 0, 0, 0, 0), "EPERM"),
    Door("chroot", call(161, "b'/tmp'"), "EPERM"),
    Door("the new mount calls", call(430, "b'tmpfs'", 0), "EPERM"),
]


def _ids(doors: list[Door]) -> list[Any]:
    return [pytest.param(door, id=door.name) for door in doors]


async def _try(sandbox: Sandbox, run: Any, probe: str) -> str:
    ran = await run(sandbox, "python3", "-c", PRELUDE + probe)
    assert ran.status.code == 0, ran
    return str(ran.out.strip())


@pytest.mark.parametrize("door", _ids(DOORS))
async def test_a_door_is_shut(door: Door, sandbox: Sandbox, run: Any) -> None:
    """What must not work from inside does not."""
    assert await _try(sandbox, run, door.probe) == door.shut


@pytest.mark.parametrize("door", _ids([door for door in DOORS if door.guards]))
async def test_a_guard_matters(door: Door, start: Start, run: Any, unguarded: Callable[..., Launcher]) -> None:
    """Without its guard the same door is open, so that it is that guard which shuts it."""
    assert await _try(await start(by=unguarded(*door.guards)), run, door.probe) != door.shut


@X86_ONLY
@pytest.mark.parametrize("door", _ids(CALLS))
async def test_a_system_call_is_refused(door: Door, sandbox: Sandbox, run: Any) -> None:
    """A system call that no sandbox needs is refused."""
    assert await _try(sandbox, run, door.probe) == door.shut


@X86_ONLY
@pytest.mark.parametrize("door", _ids([door for door in CALLS if door.guards]))
async def test_the_filter_matters(door: Door, start: Start, run: Any, unguarded: Callable[..., Launcher]) -> None:
    """Without the filter the kernel answers otherwise, so that it is the filter which refuses."""
    assert await _try(await start(by=unguarded(*door.guards)), run, door.probe) != door.shut


INT_80 = """
import mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))  # mov eax, 20 (getpid); int 0x80; ret
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
print(ctypes.CFUNCTYPE(ctypes.c_int)(address)() != 0)
"""


@X86_ONLY
async def test_a_foreign_architecture_is_killed(sandbox: Sandbox, run: Any) -> None:
    """A 32-bit system call, whose number means another call, kills who makes it."""
    ran = await run(sandbox, "python3", "-c", PRELUDE + INT_80)
    assert ran.status.signal == 31, ran  # SIGSYS


@X86_ONLY
async def test_no_filter_no_kill(start: Start, run: Any, unguarded: Callable[..., Launcher]) -> None:
    """Without the filter a 32-bit call is answered, or, by a kernel that has none, refused otherwise."""
    ran = await run(await start(by=unguarded("system calls")), "python3", "-c", PRELUDE + INT_80)
    assert ran.status.signal != 31, ran


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Gives a TCP listener on the host's loopback, which answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


async def test_the_hosts_loopback_is_out_of_reach(
    listener: socket.socket, start: Start, run: Any, unguarded: Callable[..., Launcher]
) -> None:
    """A live listener on the host's loopback refuses a sandbox; it would not, without the network namespace."""
    probe = f"print(tried(lambda: socket.create_connection({listener.getsockname()}, 2)))"
    assert await _try(await start(), run, probe) == "ECONNREFUSED"
    assert await _try(await start(by=unguarded("network namespace")), run, probe) == "done"


async def test_abstract_sockets_are_out_of_reach(start: Start, run: Any, unguarded: Callable[..., Launcher]) -> None:
    """An abstract socket of the host's, which no file permission guards, is not there inside."""
    name = f"\0e2b-magic-{secrets.token_hex(8)}"
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(name)
        server.listen()
        probe = f"print(tried(lambda: socket.socket(socket.AF_UNIX).connect({name!r})))"
        assert await _try(await start(), run, probe) == "ECONNREFUSED"
        assert await _try(await start(by=unguarded("network namespace")), run, probe) == "done"


async def test_shared_memory_of_the_host_is_out_of_reach(
    start: Start, run: Any, unguarded: Callable[..., Launcher]
) -> None:
    """A System V segment of the host's, open to all, is not there inside."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = secrets.randbelow(2**30) + 1
    segment = libc.shmget(key, 4096, 0o1666)
    assert segment >= 0
    try:
        probe = f"print(told(libc.shmget({key}, 4096, 0o666)))"
        assert await _try(await start(), run, probe) == "ENOENT"
        assert await _try(await start(by=unguarded("ipc namespace")), run, probe) == "done"
    finally:
        libc.shmctl(segment, 0, None)


async def test_processes_of_the_host_are_out_of_sight(sandbox: Sandbox, run: Any) -> None:
    """Inside there are the agent and what it started, and no id of the host's means anything."""
    ran = await run(sandbox, f"kill -0 {os.getpid()}; ls /proc | grep -c '^[0-9]'")
    assert "No such process" in ran.error
    assert int(ran.out) <= 5


async def test_the_agent_cannot_be_killed(sandbox: Sandbox, run: Any) -> None:
    """No signal from inside ends the agent, an interrupt included."""
    await run(sandbox, "for s in $(seq 1 64); do kill -$s 1; done; kill -9 -1")
    assert (await run(sandbox, "echo alive")).out == "alive\n"
    assert not sandbox.ended.done()


async def test_nothing_of_the_daemons_environment_or_paths_shows(
    monkeypatch: pytest.MonkeyPatch, start: Start, run: Any, tmp_path: Path, unguarded: Callable[..., Launcher]
) -> None:
    """No environment and no command line inside holds what the daemon's hold, even where the agent's can be read."""
    canary = secrets.token_hex(16)
    monkeypatch.setenv("E2B_API_KEY", canary)
    sandbox = await start(by=unguarded("undumpable"))
    ran = await run(sandbox, "cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'")
    assert "agent.pyc" in ran.out
    assert canary not in ran.out
    assert str(tmp_path) not in ran.out
    assert str(Path(__file__).parents[2]) not in ran.out


async def test_only_pipes_and_sockets_go_in(start: Start, run: Any, unguarded: Callable[..., Launcher]) -> None:
    """The agent holds no descriptor of a file, directory or device of the host's; its own score it opened inside."""
    sandbox = await start(by=unguarded("undumpable"))
    ran = await run(sandbox, "for f in /proc/1/fd/*; do readlink $f; done")
    kinds = {line.split(":")[0] for line in ran.out.splitlines()}
    assert kinds <= {"socket", "pipe", "anon_inode", "/dev/null", "/proc/1/oom_score_adj"}, ran.out


async def test_a_command_inherits_three_streams_alone(sandbox: Sandbox, run: Any) -> None:
    """A command has its three streams, and no descriptor of the agent's."""
    ran = await run(sandbox, "python3", "-c", "import os; print(os.listdir('/proc/self/fd'))")
    # The fourth is the listing's own.
    assert ran.out.strip() == "['0', '1', '2', '3']"


async def test_no_capability_is_left(sandbox: Sandbox, run: Any) -> None:
    """No process inside has a capability or can get one, whoever the daemon is."""
    ran = await run(sandbox, "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status")
    told = dict(line.split(":\t") for line in ran.out.splitlines())
    assert {told.pop("NoNewPrivs"), told.pop("Seccomp")} == {"1", "2"}
    assert set(told.values()) == {"0" * 16}


async def test_the_hosts_system_files_stay_as_they_are(report: Report, sandbox: Sandbox, run: Any) -> None:
    """What a sandbox writes to /usr is its own, or refused; the host's /usr never changes."""
    name = f"e2b-magic-{secrets.token_hex(8)}"
    ran = await run(sandbox, f"touch /usr/bin/{name} && rm /usr/bin/env && ls /usr/bin/{name}")
    assert (ran.status.code == 0) == report.overlay, ran
    on_host = {path.name for path in await asyncio.to_thread(lambda: list(Path("/usr/bin").iterdir()))}
    assert name not in on_host
    assert "env" in on_host


async def _host_ids(sandbox: Sandbox) -> set[int]:
    """Gives every user and group id that a process inside has outside."""
    await sandbox.spawn(argv=["sleep", "60"], envs={}, cwd=None, user="user", stdin=False)
    found: list[psutil.Process] = []
    async with asyncio.timeout(5):
        while not found:
            children = psutil.Process().children(recursive=True)
            found = [child for child in children if child.name() == "sleep"]
            await asyncio.sleep(0.01)
    status = await asyncio.to_thread(Path(f"/proc/{found[0].pid}/status").read_text)
    await sandbox.kill()
    lines = [line.split()[1:] for line in status.splitlines() if line.startswith(("Uid:", "Gid:", "Groups:"))]
    return {int(number) for line in lines for number in line}


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has no other id to run as")
async def test_roots_sandboxes_are_not_root(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under root's daemon a sandbox is, to the host, an unprivileged user of its own; but for that, it is root."""
    first, second = await _host_ids(await start()), await _host_ids(await start())
    assert len(first) == len(second) == 1
    assert first != second
    assert min(first | second) >= 30_000
    monkeypatch.setattr(identity, "choose", lambda _: None)
    assert await _host_ids(await start()) == {0}


async def test_another_sandboxs_files_are_out_of_reach(start: Start, run: Any) -> None:
    """Two sandboxes share neither files nor processes."""
    first, second = await start(), await start()
    await run(first, "echo mine > /tmp/x; echo mine > ~/x; (setsid sleep 60 >/dev/null 2>&1 &)")
    ran = await run(second, "ls /tmp ~; ls /proc | grep -c '^[0-9]'")
    assert "x" not in ran.out
    assert int(ran.out.split()[-1]) <= 5


async def test_links_that_a_sandbox_left_lead_nowhere(start: Start, run: Any, tmp_path: Path) -> None:
    """A sandbox started on files that hold planted links mounts nothing along them (GHSA-pxhw-h44j-8pfx)."""
    target = tmp_path / "host"
    target.mkdir(mode=0o777)
    target.chmod(0o777)
    sandbox = await start(directory=tmp_path / "kept")
    await run(
        sandbox, f"cd ~ && rm -rf .cache .config && ln -s {target} .cache && ln -s / .config && ln -s {target} /tmp/t"
    )
    await sandbox.kill()
    again = await start(directory=tmp_path / "kept")
    ran = await run(again, "touch ~/.cache/x /tmp/t/x; ls ~/.config/; cat ~/.config/etc/shadow")
    assert list(target.iterdir()) == []
    assert ran.error.count("No such file") == 3
