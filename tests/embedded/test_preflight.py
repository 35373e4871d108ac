"""What is found out about a machine, and what is said where it cannot contain a sandbox."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from e2b_magic.embedded.sandbox import preflight
from e2b_magic.embedded.sandbox.preflight import Report
from e2b_magic.exceptions import ContainmentError


@pytest.mark.sandbox
async def test_the_report_tells_what_holds(report: Report, tmp_path: Path) -> None:
    """A preflight starts a sandbox, says what holds, and leaves nothing."""
    found = await preflight.preflight(tmp_path / "states")
    assert found == report
    assert found.seccomp == (platform.machine() in ("x86_64", "aarch64"))
    assert [path.name for path in (tmp_path / "states").iterdir()] == []


NESTED = """
import asyncio, sys
from pathlib import Path
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.sandbox.preflight import prepare
from e2b_magic.embedded.sandbox.sandbox import Sandbox

async def main():
    directory = Path(sys.argv[1])
    launcher, report = await prepare(directory)
    print(report.overlay)
    sandbox = await Sandbox.start(
        sandbox_id="x", directory=directory / "x", envs={}, limits=Limits(), launcher=launcher
    )
    process = await sandbox.spawn(
        argv=["/bin/sh", "-c", "touch /usr/bin/x"], envs={}, cwd=None, user="user", stdin=False
    )
    print((await process.exited).code)
    process.close()
    await sandbox.kill()

asyncio.run(main())
"""


@pytest.mark.sandbox
@pytest.mark.usefixtures("launcher")
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="mounts an overlay, as root")
def test_where_no_layer_can_be_usr_is_read_only(tmp_path: Path) -> None:
    """With the state on an overlay, as in a container, sandboxes run on a read-only /usr, and the report says so."""
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    mount = "mount -t overlay x -o lowerdir=lower,upperdir=upper,workdir=work merged"
    told = subprocess.run(
        ["unshare", "-m", "/bin/sh", "-c", f'{mount} && exec "$0" -c "$1" "$PWD"/merged', sys.executable, NESTED],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout.split() == ["False", "1"]


async def test_no_bubblewrap_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without bubblewrap nothing runs, and the error names what to install."""
    monkeypatch.setattr(preflight, "_bundled", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ContainmentError, match=r"^bubblewrap .* is not installed\. Install .*E2B_API_KEY") as raised:
        await preflight.preflight(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("launcher")
@pytest.mark.sandbox
async def test_a_bubblewrap_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What bubblewrap complained of is in the error, and no sandbox is started another way."""
    broken = tmp_path / "bwrap"
    broken.write_text(
        "#!/bin/sh\n[ \"$1\" = --version ] && exec echo bubblewrap 0.11.0\necho 'bwrap: No way' >&2; exit 1\n"
    )
    broken.chmod(0o755)
    monkeypatch.setattr(preflight, "_bundled", lambda: broken)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(ContainmentError, match=r"bwrap: No way"):
        await preflight.preflight(tmp_path / "states")


async def test_an_old_bubblewrap_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A bubblewrap from before the options that contain is not used."""
    old = tmp_path / "bwrap"
    old.write_text("#!/bin/sh\necho bubblewrap 0.7.0\n")
    old.chmod(0o755)
    monkeypatch.setattr(preflight, "_bundled", lambda: old)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ContainmentError, match="not installed"):
        await preflight.preflight(tmp_path)


@pytest.mark.parametrize(("name", "shown"), [("darwin", "macOS"), ("win32", "Windows")])
async def test_another_system_is_named(name: str, shown: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Elsewhere than on Linux the error names the system and the ways out."""
    monkeypatch.setattr(sys, "platform", name)
    with pytest.raises(ContainmentError, match=f"this is {shown}.*E2B_API_KEY"):
        await preflight.preflight(tmp_path)


async def test_the_first_wsl_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """WSL 1, which looks like Linux and is none, is told by its release."""
    monkeypatch.setattr(platform, "release", lambda: "4.4.0-19041-Microsoft")
    with pytest.raises(ContainmentError, match=r"WSL 1 .*wsl --set-version"):
        await preflight.preflight(tmp_path)


@pytest.mark.parametrize(
    ("settings", "container", "cause"),
    [
        ({"/proc/sys/user/max_user_namespaces": "0"}, False, "switched off.*max_user_namespaces"),
        ({"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"}, False, "AppArmor.*apparmor-profiles"),
        ({}, True, "container .*Permission denied.*--security-opt"),
        ({}, False, "^bwrap: setting up uid map: Permission denied"),
    ],
)
def test_a_known_cause_is_explained(
    settings: dict[str, str], *, container: bool, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cause that is known is told by its sign, with its own remedy and E2B's cloud as another."""
    monkeypatch.setattr(preflight, "_setting", lambda path: settings.get(path, ""))
    monkeypatch.setattr(preflight, "_in_container", lambda: container)
    error = preflight._explain("bwrap: setting up uid map: Permission denied")
    with pytest.raises(ContainmentError, match=cause):
        raise error
    assert "E2B_API_KEY" in error.remedy
