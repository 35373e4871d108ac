"""The containment, as data: a `Layout` of what a sandbox is made of goes in, bubblewrap's arguments come out.

Nothing here touches the machine. Each `Rule` says which door it shuts, and the tests take one rule at a time away to
see that door open.

What still shows of the host inside: its `/usr`, its kernel, processors and memory, and in `/proc/self/mountinfo` where
the state directory and the interpreter lie, which the kernel tells of every bind mount.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from e2b_magic.embedded.containment.interpreter import Interpreter
from e2b_magic.embedded.containment.tree import Placed

TOOLS = "/opt/e2b-magic/bin"
AGENT = "/opt/e2b-magic/agent.pyc"
# E2B's templates have these directories, in this order; the sudo shim's must come before one that holds a real sudo.
PATH = f"{TOOLS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What programs need of the host's /etc, none of it secret or the machine's own.
SHOWN_OF_ETC = (
    "alternatives",
    "ca-certificates",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "pki/ca-trust/extracted",
    "pki/tls/certs",
    "ssl/certs",
    "ssl/openssl.cnf",
)
BOOT_ID = "/proc/sys/kernel/random/boot_id"
TOP_LEVEL = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What one sandbox is made of.

    Attributes:
        state: The sandbox's state directory, as bubblewrap can reach it.
        overlay: Whether `/usr` gets a writable layer that is kept in the state directory.
        top_level: The host's `/bin` and the like: by name, the target of the link, or None for a real directory.
        interpreter: The agent's.
        shared_memory_bytes: The size of `/dev/shm`.
        boot_id: The descriptor that what the sandbox sees as the kernel's boot id is read from.
        data: By path inside, the descriptor that a read-only file's contents are read from, and its permission bits.
        seccomp: The descriptor of the filter program; None where there is none for this machine.
        information: The descriptor that bubblewrap tells the agent's process id on.
        usr: What becomes `/usr`.
        tree: What of a template's tree is shown beside its `/usr`; None for the host's system.
    """

    state: Path
    overlay: bool
    top_level: Mapping[str, str | None]
    interpreter: Interpreter
    shared_memory_bytes: int
    boot_id: int
    data: Mapping[str, tuple[int, int]]
    seccomp: int | None
    information: int
    usr: Path = Path("/usr")
    tree: tuple[Placed, ...] | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One guard: its name, and the arguments that set it up."""

    guard: str
    arguments: tuple[str, ...]


def _isolation() -> Iterator[Rule]:
    # Not root inside: a user namespace's root may do more to the kernel than anyone here needs.
    yield Rule("user namespace", ("--unshare-user", "--uid", "1000", "--gid", "1000"))
    yield Rule("nested namespaces", ("--disable-userns", "--assert-userns-disabled"))
    yield Rule("ipc namespace", ("--unshare-ipc",))
    yield Rule("process namespace", ("--unshare-pid", "--as-pid-1"))
    yield Rule("network namespace", ("--unshare-net",))
    yield Rule("host name", ("--unshare-uts", "--hostname", "sandbox"))
    yield Rule("control group namespace", ("--unshare-cgroup-try",))
    yield Rule("capabilities", ("--cap-drop", "ALL"))
    yield Rule("death with the daemon", ("--die-with-parent",))
    yield Rule("terminal", ("--new-session",))


def _system(layout: Layout) -> Iterator[Rule]:
    arguments: tuple[str, ...] = ("--ro-bind", str(layout.usr), "/usr")
    if layout.overlay:
        writable, work = layout.state / "usr.up", layout.state / "usr.wk"
        arguments = ("--overlay-src", str(layout.usr), "--overlay", str(writable), str(work), "/usr")
    yield Rule("system files", arguments)
    yield from _host(layout) if layout.tree is None else _tree(layout.tree)


def _tree(tree: tuple[Placed, ...]) -> Iterator[Rule]:
    yield Rule("settings", ("--perms", "0755", "--dir", "/etc"))
    for one in tree:
        shown = ("--symlink", one.target) if one.source is None else ("--ro-bind", str(one.source))
        yield Rule("system files", (*shown, one.inside))


def _host(layout: Layout) -> Iterator[Rule]:
    for name, target in layout.top_level.items():
        shown = ("--ro-bind", f"/{name}", f"/{name}") if target is None else ("--symlink", target, f"/{name}")
        yield Rule("system files", shown)
    etc = tuple(word for name in SHOWN_OF_ETC for word in ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}"))
    yield Rule(
        "settings", ("--perms", "0755", "--dir", "/etc", *etc, "--symlink", "../usr/lib/os-release", "/etc/os-release")
    )


def _own_files(layout: Layout) -> Iterator[Rule]:
    interpreter = layout.interpreter
    for outside, inside in interpreter.shown:
        yield Rule("interpreter", ("--ro-bind", str(outside), inside))
    directory, _, program = interpreter.program.rpartition("/")
    for name in interpreter.names:
        yield Rule("interpreter", ("--symlink", program, f"{directory}/{name}"))
    for path, (descriptor, mode) in layout.data.items():
        yield Rule("own files", ("--perms", f"{mode:04o}", "--ro-bind-data", str(descriptor), path))


def _devices(layout: Layout) -> Iterator[Rule]:
    yield Rule("processes' files", ("--proc", "/proc"))
    # One for each start: by it a client of E2B's tells whether a sandbox went on or began anew.
    yield Rule("boot id", ("--perms", "0444", "--ro-bind-data", str(layout.boot_id), BOOT_ID))
    yield Rule("devices", ("--dev", "/dev"))
    size = str(layout.shared_memory_bytes)
    yield Rule("shared memory", ("--size", size, "--perms", "1777", "--tmpfs", "/dev/shm"))  # noqa: S108 - a mount
    yield Rule("fixed devices", ("--remount-ro", "/dev"))


def _writable(layout: Layout) -> Iterator[Rule]:
    for directory in ("/home", "/opt", "/var"):
        yield Rule("directories", ("--perms", "0755", "--dir", directory))
    yield Rule("temporary files", ("--symlink", "../tmp", "/var/tmp"))  # noqa: S108 - a link
    # No mount may lie beneath one of these: a link planted there by the sandbox would lead bubblewrap out of it
    # (GHSA-pxhw-h44j-8pfx). So they come last, and nothing but the root's own remount follows.
    for name, inside in (("tmp", "/tmp"), ("root", "/root"), ("home", "/home/user")):  # noqa: S108 - a mount
        yield Rule("writable files", ("--bind", str(layout.state / name), inside))
    yield Rule("fixed root", ("--remount-ro", "/"))


def _environment(layout: Layout) -> Iterator[Rule]:
    variables = {"PATH": PATH, "HOME": "/home/user", "LANG": "C.UTF-8"}
    if layout.interpreter.library_path:
        variables["LD_LIBRARY_PATH"] = layout.interpreter.library_path
    set_each = tuple(word for name, value in variables.items() for word in ("--setenv", name, value))
    yield Rule("environment", ("--clearenv",))
    yield Rule("variables", set_each)


def rules(layout: Layout) -> Iterator[Rule]:
    """Gives every guard of a sandbox, in the order that bubblewrap must be told them."""
    yield Rule("information", ("--info-fd", str(layout.information)))
    yield from _isolation()
    yield from _environment(layout)
    yield from _system(layout)
    yield from _own_files(layout)
    yield from _devices(layout)
    yield from _writable(layout)
    yield Rule("directory", ("--chdir", "/home/user"))
    if layout.seccomp is not None:
        yield Rule("system calls", ("--seccomp", str(layout.seccomp)))


def arguments(layout: Layout, *, without: frozenset[str] = frozenset()) -> bytes:
    """Gives the arguments as bubblewrap's `--args` reads them: each ended by a NUL.

    Args:
        layout: What the sandbox is made of.
        without: Guards to leave out, by name. For tests, which show that each guard matters; no released code
            gives it.
    """
    words = [word for rule in rules(layout) if rule.guard not in without for word in rule.arguments]
    return b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)


def command(layout: Layout, channel: int) -> list[str]:
    """Gives the agent's command line, which `/proc/1/cmdline` shows inside: nothing of the host is in it."""
    return [*layout.interpreter.loader, layout.interpreter.program, "-I", "-S", "-E", "-B", AGENT, str(channel)]
