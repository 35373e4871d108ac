"""`e2b-magic doctor`: what this machine can and cannot contain, a line each, with its consequence and how to mend it.

The lines are drawn from what a preflight really found (`Report`), never from what should be so. Where no sandbox
starts, the line says why, and nothing is said of what would hold if one did.
"""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from e2b_magic.embedded.containment.hierarchies import is_mounted
from e2b_magic.embedded.sandbox.host import Host
from e2b_magic.embedded.sandbox.preflight import Report, preflight
from e2b_magic.exceptions import ContainmentError

# Descriptors below which the server holds fewer than a hundred sandboxes at work, and bytes of disk below which one
# that installs a few packages fills it.
_FEW_DESCRIPTORS, _LITTLE_DISK = 4096, 2 * 1024**3
# Namespaces below which a user soon has no more of them; kernels allow tens of thousands.
_FEW_NAMESPACES = 256


class Level(StrEnum):
    """How well something is."""

    GOOD = "ok"
    LESS = "less"
    BAD = "no"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Attributes:
        level: How well it is.
        subject: What it is about.
        found: What was found.
        consequence: What that means for sandboxes; empty where all is well.
        remedy: How to mend it; empty where there is nothing to mend, or no way to.
    """

    level: Level
    subject: str
    found: str
    consequence: str = ""
    remedy: str = ""


async def examine(directory: Path, host: Host | None = None) -> list[Finding]:
    """Gives the findings for this machine; starts a sandbox once and ends it.

    Args:
        directory: Where sandboxes would have their state.
        host: The machine; this one if left out.
    """
    host = host or Host()
    found = [Finding(Level.GOOD, "system", f"{host.system_name} {host.release} on {host.processor}")]
    try:
        report = await preflight(directory, host)
    except ContainmentError as error:
        consequence = "none is started here: there is no fallback that does not contain"
        return [*found, Finding(Level.BAD, "sandboxes", error.cause, consequence, error.remedy)]
    except OSError as error:
        return [*found, no_place(f"{directory} cannot be used ({error.strerror or error})")]
    return [*found, *_findings(report, host), *_room(directory, host)]


def no_place(found: str) -> Finding:
    """Gives the finding of a machine on which a server has no directory to work in.

    Args:
        found: What was found.
    """
    remedy = "make it yours, or set E2B_MAGIC_DIRECTORY to a directory of your own"
    return Finding(Level.BAD, "directory", found, "no server starts, and so no sandbox", remedy)


def contained(findings: list[Finding]) -> bool:
    """Whether a sandbox can be contained at all."""
    return all(finding.level is not Level.BAD for finding in findings)


def _findings(report: Report, host: Host) -> Iterator[Finding]:
    yield Finding(Level.GOOD, "sandboxes", "one was started, ran a program, and ended")
    yield Finding(Level.GOOD, "bubblewrap", f"{report.version} ({report.bubblewrap})")
    yield _system_calls(report, host)
    yield _user_ids(report, host)
    yield _usr(report)
    yield from _groups(report, host)


def _system_calls(report: Report, host: Host) -> Finding:
    if report.seccomp:
        return Finding(Level.GOOD, "system calls", "filtered: those that sandboxes need, and no others")
    return Finding(
        Level.LESS,
        "system calls",
        f"not filtered: there is no filter for {host.processor}",
        "more of the kernel is open to hostile code",
        "use x86-64 or aarch64",
    )


def _user_ids(report: Report, host: Host) -> Finding:
    if report.staged:
        return Finding(Level.GOOD, "user ids", "one for each sandbox, that nothing else has")
    if host.uid != 0:
        return Finding(Level.GOOD, "user ids", "yours, in namespaces")
    return Finding(
        Level.LESS,
        "user ids",
        "one for each sandbox; but this root may not mount",
        "what lies where only root may go (a Python below /root) cannot be shown to a sandbox",
        "give the container CAP_SYS_ADMIN, or run as an ordinary user",
    )


def _usr(report: Report) -> Finding:
    if report.overlay:
        return Finding(Level.GOOD, "/usr", "the host's, with a layer of the sandbox's own")
    return Finding(
        Level.LESS,
        "/usr",
        "read-only: this kernel lays no layer over it here",
        "`pip install` and `npm install -g` without a folder of their own fail; virtual environments work",
        "use bubblewrap 0.10 or newer, and an E2B_MAGIC_DIRECTORY that is no overlay itself, such as a volume",
    )


def _groups(report: Report, host: Host) -> Iterator[Finding]:
    why, remedy = _no_groups(host)
    yield _bound(
        "memory" in report.controllers,
        ("memory", "bounded for all processes of a sandbox together"),
        (f"bounded for each process alone: {why}", "many processes together can use up this machine's memory"),
        remedy,
    )
    yield _bound(
        "cpu" in report.controllers,
        ("processor time", "can be bounded (`--cpus`)"),
        (f"cannot be bounded: {why}", "a busy sandbox slows this machine down, and `--cpus` has no effect"),
        remedy,
    )
    yield _bound(
        report.freezes,
        ("freezing", "a sandbox that is paused or copied stands still, whatever runs in it"),
        (
            f"not to be had: {why}, and tracing is forbidden",
            "sandboxes are paused with their files alone, and not copied",
        ),
        f"{remedy}; or allow ptrace (`sysctl kernel.yama.ptrace_scope` below 3, a container's CAP_SYS_PTRACE)",
    )


def _bound(holds: bool, good: tuple[str, str], less: tuple[str, str], remedy: str) -> Finding:
    return Finding(Level.GOOD, *good) if holds else Finding(Level.LESS, good[0], *less, remedy)


def _no_groups(host: Host) -> tuple[str, str]:
    """Gives why there is no control group that would do, and how to get one."""
    if not is_mounted(host.proc):
        return "no control groups are mounted", "mount them: `mount -t cgroup2 none /sys/fs/cgroup`"
    if host.uid != 0:
        return (
            "no control group has been delegated to this session",
            "start the server where systemd delegates them: `systemd-run --user --scope e2b-magic serve`",
        )
    return (
        "the control groups here cannot be written, or lack the controller",
        "let the container have its own: `--cgroupns=private` and /sys/fs/cgroup mounted rw, or `--privileged`",
    )


def _room(directory: Path, host: Host) -> Iterator[Finding]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= most < _FEW_DESCRIPTORS:
        yield Finding(
            Level.LESS,
            "descriptors",
            f"the server may open {most}",
            f"some {most // 40} sandboxes at work, then requests are answered 503",
            "raise the hard limit: `ulimit -Hn 65536`, LimitNOFILE= or a container's --ulimit",
        )
    namespaces = host.setting("user/max_user_namespaces")
    if namespaces.isdecimal() and int(namespaces) < _FEW_NAMESPACES:
        yield Finding(
            Level.LESS,
            "namespaces",
            f"a user may have {namespaces}",
            "each sandbox takes two; then no other starts",
            "have the administrator set `sysctl user.max_user_namespaces=15000`",
        )
    free = shutil.disk_usage(directory).free
    level = Level.GOOD if free >= _LITTLE_DISK else Level.LESS
    consequence = "" if level is Level.GOOD else "sandboxes that write much fill it before their own limit ends them"
    remedy = "" if level is Level.GOOD else "make room, or set E2B_MAGIC_DIRECTORY to a larger disk"
    yield Finding(level, "disk", f"{free / 1024**3:.1f} GiB are free in {directory}", consequence, remedy)
