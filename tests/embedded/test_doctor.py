"""What is told of a machine: as it is, and of others that are described by their files and by a bubblewrap of theirs.

No answer is put into anyone's mouth: a described machine has a `/proc` of its own and a program that fails as
bubblewrap does there, and what is told follows from these.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from e2b_magic.cli import main
from e2b_magic.embedded.sandbox.doctor import Finding, Level, _findings, contained, examine
from e2b_magic.embedded.sandbox.host import Host
from e2b_magic.embedded.sandbox.preflight import Report, preflight
from e2b_magic.exceptions import ContainmentError

DENIED = "bwrap: setting up uid map: Permission denied"
Describe = Callable[..., Host]


@pytest.fixture
def describe(tmp_path: Path) -> Describe:
    """Gives a function that describes a machine, whose bubblewrap does not start anything but complains."""

    def describing(
        *files: str, complaint: str = DENIED, version: str = "0.11.0", settings: dict[str, str] | None = None
    ) -> Host:
        root = tmp_path / "root"
        (root / "proc" / "self").mkdir(parents=True, exist_ok=True)
        for name, text in {f"proc/sys/{name}": text for name, text in (settings or {}).items()}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(f"{text}\n")
        for name in files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        program = tmp_path / "bwrap"
        told = f"bubblewrap {version}"
        program.write_text(
            f"#!/bin/sh\n[ $1 = --version ] && exec echo {told}\necho {shlex.quote(complaint)} >&2; exit 1\n"
        )
        program.chmod(0o755)
        return Host(root=root, uid=1000, search_path=str(tmp_path), bundled=None)

    return describing


async def _refusal(host: Host, directory: Path) -> Finding:
    findings = await examine(directory, host)
    assert not contained(findings)
    (bad,) = [finding for finding in findings if finding.level is Level.BAD]
    assert "E2B_API_KEY" in bad.remedy
    with pytest.raises(ContainmentError) as raised:
        await preflight(directory, host)
    assert (raised.value.cause, raised.value.remedy) == (bad.found, bad.remedy)
    assert "\n" not in str(raised.value)
    return bad


@pytest.mark.sandbox
@pytest.mark.usefixtures("launcher")
async def test_this_machine_is_told_as_the_preflight_finds_it(report: Report, tmp_path: Path) -> None:
    """On a machine that contains sandboxes each line follows from the report, and what is less has a consequence."""
    findings = await examine(tmp_path / "states")
    assert contained(findings)
    levels = {finding.subject: finding.level for finding in findings}
    assert (levels["/usr"] is Level.GOOD) == report.overlay
    assert (levels["system calls"] is Level.GOOD) == report.seccomp
    assert (levels["memory"] is Level.GOOD) == ("memory" in report.controllers)
    assert (levels["freezing"] is Level.GOOD) == report.freezes
    assert all(finding.consequence and finding.remedy for finding in findings if finding.level is Level.LESS)
    assert list((tmp_path / "states").iterdir()) == []


@pytest.mark.sandbox
@pytest.mark.usefixtures("launcher")
@pytest.mark.parametrize(
    ("mounts", "why"),
    [("", "no control groups are mounted"), ("30 1 0:1 / /nowhere rw - cgroup2 none rw\n", "delegated")],
)
async def test_without_control_groups_it_is_said_what_that_means(mounts: str, why: str, tmp_path: Path) -> None:
    """Where no control group can be made sandboxes run, bounded less, and the lines name why and the way to one."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "mountinfo").write_text(mounts)
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/x\n")
    findings = await examine(tmp_path / "states", Host(root=tmp_path, uid=1000))
    assert contained(findings)
    less = {finding.subject: finding for finding in findings if finding.level is Level.LESS}
    assert {"memory", "processor time"} <= set(less)
    # Sandboxes are traced then, which needs no group.
    assert "freezing" not in less
    assert why in less["memory"].found
    assert "use up this machine's memory" in less["memory"].consequence


@pytest.mark.parametrize(
    ("settings", "files", "complaint", "cause", "remedy"),
    [
        ({"user/max_user_namespaces": "0"}, (), DENIED, "switched off", "user.max_user_namespaces"),
        ({"kernel/unprivileged_userns_clone": "0"}, (), DENIED, "for root only", "unprivileged_userns_clone=1"),
        ({"kernel/apparmor_restrict_unprivileged_userns": "1"}, (), DENIED, "AppArmor", "apparmor-profiles"),
        (
            {"kernel/apparmor_restrict_unprivileged_userns": "1"},
            (),
            "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted",
            "AppArmor",
            "bwrap-userns-restrict",
        ),
        (
            {},
            (".dockerenv",),
            "bwrap: No permissions to create a new namespace, likely because the kernel does not allow it",
            "container .* forbids namespaces",
            "seccomp=unconfined",
        ),
        ({}, ("run/.containerenv",), "bwrap: Can't mount proc: Operation not permitted", "container", "systempaths"),
        ({"user/max_user_namespaces": "5"}, (), "bwrap: x: No space left on device", "No further namespace", "now 5"),
        (
            {"user/max_user_namespaces": "1"},
            (),
            "bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded (ENOSPC)",
            "No further namespace",
            "outside of it",
        ),
        ({}, (), "bwrap: Something new", "bwrap: Something new", "E2B_API_KEY"),
    ],
)
async def test_a_known_cause_is_named(
    describe: Describe,
    tmp_path: Path,
    settings: dict[str, str],
    files: tuple[str, ...],
    complaint: str,
    cause: str,
    remedy: str,
) -> None:
    """Each cause that is known is told by its signs, with its own way out."""
    host = describe(*files, complaint=complaint, settings=settings)
    told = await _refusal(host, tmp_path / "states")
    assert re.search(cause, told.found)
    assert remedy in told.remedy


async def test_a_filter_of_system_calls_is_named(describe: Describe, tmp_path: Path) -> None:
    """Under a seccomp filter, such as a service's, that is the cause when nothing else is."""
    host = describe("proc/self/status")
    (host.proc / "self" / "status").write_text("Name:\tx\nSeccomp:\t2\n")
    assert "seccomp" in (await _refusal(host, tmp_path / "states")).found


async def test_what_is_known_to_whoever_failed_is_passed_on(
    describe: Describe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no other cause is known, the way out is told that came with the failure."""
    host = describe()

    async def failing(*_: object) -> bool:
        raise ContainmentError("Too few user ids are mapped.", "Run as an ordinary user.")

    monkeypatch.setattr("e2b_magic.embedded.sandbox.preflight._try", failing)
    told = await _refusal(host, tmp_path / "states")
    assert told.found == "Too few user ids are mapped."
    assert told.remedy.startswith("Run as an ordinary user. Or set E2B_API_KEY")


async def test_without_proc_that_is_the_cause(describe: Describe, tmp_path: Path) -> None:
    """Where /proc is empty, or is not there, without which bubblewrap does not even tell its version, that is said."""
    host = describe()
    for missing in (host.proc / "self", host.proc):
        missing.rmdir()
        told = await _refusal(host, tmp_path / "states")
        assert "No /proc is mounted" in told.found
        assert "mount -t proc" in told.remedy


async def test_no_bubblewrap_and_an_old_one_are_said(describe: Describe, tmp_path: Path) -> None:
    """Without a bubblewrap that knows the options which contain, nothing runs, and the error names what to install."""
    old = await _refusal(describe(version="0.7.0"), tmp_path / "states")
    none = await _refusal(dataclasses.replace(describe(), search_path=""), tmp_path / "states")
    assert old == none
    assert old.found == "bubblewrap (0.8 or newer) is not installed."
    assert "`bubblewrap` package" in old.remedy


@pytest.mark.parametrize(
    ("system", "release", "cause"),
    [
        ("darwin", "23.1.0", "this is macOS"),
        ("win32", "10", "this is Windows"),
        ("linux", "4.4.0-19041-Microsoft", "WSL 1"),
    ],
)
async def test_another_system_is_named(
    describe: Describe, tmp_path: Path, system: str, release: str, cause: str
) -> None:
    """Elsewhere than on Linux, and on WSL 1, the system is named and the ways out."""
    host = dataclasses.replace(describe(), system=system, release=release)
    assert cause in (await _refusal(host, tmp_path / "states")).found


@pytest.mark.sandbox
@pytest.mark.usefixtures("launcher")
def test_few_namespaces_and_descriptors_are_told(tmp_path: Path) -> None:
    """Low limits of the machine are lines of their own, with how many sandboxes they allow."""
    (tmp_path / "proc" / "sys" / "user").mkdir(parents=True)
    (tmp_path / "proc" / "sys" / "user" / "max_user_namespaces").write_text("20\n")
    program = (
        "import asyncio, resource, sys; from pathlib import Path\n"
        "from e2b_magic.embedded.sandbox.doctor import examine\n"
        "from e2b_magic.embedded.sandbox.host import Host\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))\n"
        "found = asyncio.run(examine(Path(sys.argv[1]) / 'states', Host(root=Path(sys.argv[1]))))\n"
        "print({one.subject: one.found for one in found if one.level == 'less'})\n"
    )
    told = subprocess.run([sys.executable, "-c", program, tmp_path], check=True, capture_output=True, text=True).stdout
    assert "'descriptors': 'the server may open 512'" in told
    assert "'namespaces': 'a user may have 20'" in told


@pytest.mark.sandbox
@pytest.mark.usefixtures("launcher")
def test_a_program_can_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`doctor --json` tells the same as `doctor`."""
    monkeypatch.setenv("E2B_MAGIC_DIRECTORY", str(tmp_path))
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["contained"] is True
    assert {"level", "subject", "found", "consequence", "remedy"} == set(told["findings"][0])
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert all(finding["subject"] in shown and finding["remedy"] in shown for finding in told["findings"])


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("mounted", [False, True])
def test_whatever_is_less_has_its_consequence_and_its_remedy(uid: int, *, mounted: bool, tmp_path: Path) -> None:
    """Of every machine that contains at all, each line that is not good says what follows and how to mend it."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    text = "30 1 0:1 / /nowhere rw - cgroup2 none rw\n" if mounted else ""
    (tmp_path / "proc" / "self" / "mountinfo").write_text(text)
    host = Host(root=tmp_path, uid=uid, processor="riscv64")
    for overlay, seccomp, staged, freezes in itertools.product((False, True), repeat=4):
        for controllers in (frozenset[str](), frozenset({"memory", "pids", "cpu", "freezer", "cpuacct"})):
            report = Report(
                bubblewrap=Path("/usr/bin/bwrap"),
                version="0.11.0",
                overlay=overlay,
                seccomp=seccomp,
                staged=staged,
                controllers=controllers,
                freezes=freezes,
            )
            findings = {one.subject: one for one in _findings(report, host)}
            for finding in findings.values():
                good = finding.level is Level.GOOD
                assert (finding.consequence == "") == (finding.remedy == "") == good, finding
            held = {"/usr": overlay, "system calls": seccomp, "freezing": freezes, "memory": bool(controllers)}
            assert {name: findings[name].level is Level.GOOD for name in held} == held
            assert (findings["user ids"].level is Level.GOOD) == (staged or uid != 0)
