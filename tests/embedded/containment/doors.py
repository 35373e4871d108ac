"""The doors of a sandbox: what must not work inside, what tells that it does not, and which guards shut it.

A probe is Python that prints a word. Where several walls stand one behind the other, as the filter of system calls
before the kernel's own rights, a probe either asks in a way that the kernel would refuse with another word, so that the
first wall is seen alone; or all the walls are taken away at once, which root's server alone can do.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

# Before each probe: the C library, and a way to tell an outcome by the name of its errno.
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
# No guard of bubblewrap's: that under root's server a sandbox is, to the host, a user that is nobody.
OWN_USER_ID = "own user id"
FILTER = ("system calls",)
# What keeps a process of root's server from being root to the kernel, and from asking it as root.
WALLS = (OWN_USER_ID, "user namespace", "nested namespaces", "capabilities", "system calls")


@dataclass(frozen=True)
class Door:
    """One thing that must not work.

    Attributes:
        name: What it is.
        probe: Python that prints what came of trying.
        shut: What it prints when the door is shut.
        guards: Without all of these it prints something else.
        opened: Bubblewrap's arguments with which it prints something else: for what is merely not there inside.
        x86_64: Whether it is tried by a number of x86-64's.
    """

    name: str
    probe: str
    shut: str
    guards: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    x86_64: bool = False

    @property
    def can_be_opened(self) -> bool:
        """Whether its guards can be taken away by this user."""
        return bool(self.guards) and (OWN_USER_ID not in self.guards or os.geteuid() == 0)


def _call(name: str, number: int, *arguments: object, shut: str = "EPERM", guards: tuple[str, ...] = FILTER) -> Door:
    words = ", ".join(map(str, (number, *arguments)))
    return Door(name, f"print(told(libc.syscall({words})))", shut, guards, x86_64=True)


FILES = [
    Door("write to /", "print(tried(lambda: open('/fill', 'w')))", "EROFS", ("fixed root",)),
    Door("write to /dev", "print(tried(lambda: open('/dev/z', 'w')))", "EROFS", ("fixed devices",)),
    Door(
        "fill /dev/shm",
        "print(open('/dev/shm/x', 'wb', 0).write(b'x' * (80 << 20)) >> 20)",
        "64",
        ("shared memory", "fixed devices"),
    ),
    Door(
        "host accounts",
        "print(tried(lambda: open('/etc/shadow')))",
        "ENOENT",
        opened=("--ro-bind", "/etc/shadow", "/etc/shadow"),
    ),
    Door(
        "the machine's identity",
        "print(tried(lambda: open('/etc/machine-id')))",
        "ENOENT",
        opened=("--ro-bind", "/etc/passwd", "/etc/machine-id"),
    ),
    Door(
        "keys of the host's users",
        "print(tried(lambda: os.listdir('/root/.ssh')), os.listdir('/home'))",
        "ENOENT ['user']",
        opened=("--ro-bind", "/", "/home/host"),
    ),
    Door(
        "hardware",
        "print([n for n in ('kvm', 'mem', 'kmem', 'kmsg', 'fuse', 'port', 'sda', 'vda')"
        " if os.path.exists('/dev/' + n)])",
        "[]",
        opened=("--dev-bind", "/dev", "/dev"),
    ),
    Door("/sys", "print(os.path.exists('/sys'))", "False", opened=("--ro-bind", "/sys", "/sys")),
    Door(
        "the kernel's memory",
        "print([n for n in ('kcore', 'sysrq-trigger', 'keys', 'kallsyms') if os.access('/proc/' + n, os.W_OK)])",
        "[]",
        WALLS,
    ),
]
PROCESSES = [
    Door("trace the agent", "print(told(libc.ptrace(0x4206, 1, 0, 0)))", "EPERM", ("undumpable",)),
    Door("read the agent's environment", "print(tried(lambda: open('/proc/1/environ')))", "EACCES", ("undumpable",)),
    Door("list the agent's descriptors", "print(tried(lambda: os.listdir('/proc/1/fd')))", "EACCES", ("undumpable",)),
    Door(
        "see the host through the agent", "print(tried(lambda: os.listdir('/proc/1/root')))", "EACCES", ("undumpable",)
    ),
    Door("the agent is the first process", "print(os.getppid())", "1", ("process namespace",)),
    Door(
        "signal the host's processes",
        f"print(tried(lambda: os.kill({os.getpid()}, 0)))",
        "ESRCH",
        ("process namespace",),
    ),
    Door(
        "see the host's processes",
        f"print(os.path.exists('/proc/{os.getpid()}/status'))",
        "False",
        ("process namespace",),
    ),
    Door("the machine's name", "print(os.uname().nodename)", "sandbox", ("host name",)),
]
KERNEL = [
    Door(
        "settings of the kernel",
        "print(tried(lambda: open('/proc/sys/kernel/core_pattern', 'r+')))",
        "EACCES",
        (OWN_USER_ID,),
    ),
    Door(
        "a block device",
        "print(tried(lambda: os.mknod('/tmp/sda', 0o60600, os.makedev(254, 0))))",
        "EPERM",
        WALLS,
    ),
    Door(
        "capabilities",
        "print({line.split()[1] for line in open('/proc/self/status') if line.startswith('Cap')})",
        "{'0000000000000000'}",
        WALLS,
    ),
    Door("TIOCSTI", "print(told(libc.ioctl(0, 0x5412, b'x')))", "EPERM", FILTER),
    Door("an odd socket family", "print(tried(lambda: socket.socket(38, 15)))", "EAFNOSUPPORT", FILTER),
    # Of no type that there is: the kernel says so before it looks for a family that it may not have.
    Door("AF_VSOCK", "print(tried(lambda: socket.socket(40, 15)))", "EAFNOSUPPORT", FILTER),
    Door("AF_PACKET", "print(tried(lambda: socket.socket(17, 3)))", "EAFNOSUPPORT", FILTER),
]
NETWORK = [
    Door(
        "metadata",
        "s = socket.socket(); s.settimeout(2); print(tried(lambda: s.connect(('169.254.169.254', 80))))",
        "ENETUNREACH",
    ),
    Door("a name server", "print(tried(lambda: socket.socket(2, 2).sendto(b'x', ('8.8.8.8', 53))))", "ENETUNREACH"),
    Door(
        "the host's interfaces", "print([name for _, name in socket.if_nameindex()])", "['lo']", ("network namespace",)
    ),
]
# Asked in such a way that the kernel's own answer, without the filter, is another than EPERM for whoever asks.
CALLS = [
    _call("keyctl", 250, 0, -3, 1),
    _call("add_key", 248, "b'user'", "b'x'", "b'y'", 1, -3),
    _call("kcmp", 312, "os.getpid()", "os.getpid()", 0, 0, 0),
    _call("userfaultfd", 323, 1),
    _call("perf_event_open", 298, 0, 0, -1, -1, 0),
    _call("io_uring_setup", 425, 0, 0, shut="ENOSYS"),
    _call("clone3", 435, 0, 0, shut="ENOSYS"),
    _call("memfd_secret", 447, 0xFFFF, shut="ENOSYS"),
    _call("name_to_handle_at", 303, -100, 0, 0, 0, 0),
    _call("open_by_handle_at", 304, -100, 0, 0),
    _call("personality", 135, 0x0400000),
    _call("modify_ldt", 154, 0, 0, 0),
    _call("get_mempolicy", 239, 0, 0, 0, 0, 0),
    _call("setns", 308, 0, 0),
    _call("a nested user namespace", 272, 0x10000000, guards=(*FILTER, "nested namespaces")),
    _call("clone into a user namespace", 56, "0x10000000 | 17", 0, 0, 0, 0, guards=(*FILTER, "nested namespaces")),
    _call("TIOCSTI, with a bit above the 32", 16, 0, "ctypes.c_ulong(0x100005412)", "b'x'"),
    # With a pointer to nowhere, a command that there is not, a second of two thousand million nanoseconds.
    _call("mount, asked wrongly", 165, "b'none'", "b'/tmp'", 1, 0, 0),
    _call("bpf, asked wrongly", 321, 99999, 0, 0),
    _call("clock_settime, asked wrongly", 227, 0, "(ctypes.c_long * 2)(0, 2_000_000_000)"),
    _call("chroot, asked wrongly", 161, 1),
    # Rightly, or such that the most that can come of it is another error: behind the filter stand the kernel's rights.
    _call("mount", 165, "b'none'", "b'/tmp'", "b'tmpfs'", 0, 0, guards=WALLS),
    _call("the new mount calls", 430, "b'tmpfs'", 0, guards=WALLS),
    _call("chroot", 161, "b'/tmp'", guards=WALLS),
    _call("syslog", 103, 3, "b' ' * 100", 100, guards=WALLS),
    _call("reboot", 169, 0, 0, 0, 0, guards=WALLS),
    _call("init_module", 175, 0, 0, "b''", guards=WALLS),
    _call("kexec_load", 246, 0, 0, 0, "ctypes.c_ulong(0xFFFF)", guards=WALLS),
    # By its number the filter refuses it; a kernel without that interface does too (test_seccomp.py).
    _call("an x32 call", 0x40000000 | 39, shut="ENOSYS", guards=()),
]
DOORS = [*FILES, *PROCESSES, *KERNEL, *NETWORK, *CALLS]
