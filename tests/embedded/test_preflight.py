"""What is found out about a machine, and what is said where it cannot contain a sandbox."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from e2b_magic.embedded.sandbox import preflight
from e2b_magic.embedded.sandbox.preflight import Report


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
from e2b_magic.embedded.sandbox.doctor import examine
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
    launcher.close()
    print([str(finding.level) for finding in await examine(directory) if finding.subject == "/usr"])

asyncio.run(main())
"""


@pytest.mark.sandbox
@pytest.mark.usefixtures("launcher")
@pytest.mark.root("mounts an overlay")
@pytest.mark.skipif(shutil.which("unshare") is None, reason="makes a mount namespace with unshare")
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
    assert told.stdout.split() == ["False", "1", "['less']"]
