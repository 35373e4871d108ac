"""A sandbox's life hangs on the daemon's: however that ends, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

# The launcher, without which this machine cannot contain anything, skips these tests with all others.
pytestmark = [pytest.mark.sandbox, pytest.mark.usefixtures("launcher")]

DAEMON = """
import asyncio, sys
from pathlib import Path
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.sandbox.preflight import prepare
from e2b_magic.embedded.sandbox.sandbox import Sandbox

async def main():
    directory = Path(sys.argv[1])
    launcher, _ = await prepare(directory)
    sandbox = await Sandbox.start(
        sandbox_id="one", directory=directory / "one", envs={}, limits=Limits(), launcher=launcher
    )
    script = "setsid -f setsid sleep 1000; setsid -f setsid nohup sleep 1000 >/dev/null; echo up; exec sleep 1000"
    process = await sandbox.spawn(argv=["/bin/sh", "-c", script], envs={}, cwd=None, user="user", stdin=False)
    await asyncio.sleep(0.5)
    print("up", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_daemon(end: signal.Signals, tmp_path: Path) -> None:
    """When the daemon is killed, every process of its sandboxes is gone, those in sessions of their own too."""
    daemon = subprocess.Popen([sys.executable, "-c", DAEMON, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert daemon.stdout is not None
    try:
        assert daemon.stdout.readline() == "up\n"
        children = psutil.Process(daemon.pid).children(recursive=True)
        assert len([child for child in children if child.name() == "sleep"]) == 3
        daemon.send_signal(end)
        daemon.wait(20)
        assert psutil.wait_procs(children, timeout=5)[1] == []
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()


def test_an_interrupt_of_the_terminal_is_not_for_sandboxes(tmp_path: Path) -> None:
    """A Ctrl-C goes to the daemon's process group, in which nothing of a sandbox is."""
    daemon = subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert daemon.stdout is not None
    try:
        assert daemon.stdout.readline() == "up\n"
        children = psutil.Process(daemon.pid).children(recursive=True)
        assert {os.getpgid(child.pid) for child in children}.isdisjoint({os.getpgid(daemon.pid)})
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()
