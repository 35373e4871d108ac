"""A program that kills a server in the middle of everything, again and again, and looks at what each left behind.

It is the parent of all that lost theirs (PR_SET_CHILD_SUBREAPER, prctl(2)), so no process of a dead server's hides
among the machine's others. It prints nothing and exits with 0, or fails with what it found.
"""

from __future__ import annotations

import ctypes
import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
from e2b import Sandbox, SandboxException

from e2b_magic.embedded import runtime
from e2b_magic.embedded.containment.hierarchies import find_places
from e2b_magic.embedded.endpoint import Endpoint

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
# Seconds that things may take on a busy machine.
_PATIENCE = 40.0
# Seconds into the work at which a server is killed at the latest.
_LATEST = 0.6


def _options_for(endpoint: Endpoint) -> dict[str, Any]:
    url = endpoint.url
    return {"api_key": endpoint.api_key, "api_url": url, "sandbox_url": url, "domain": "localhost", "debug": False}


def _until(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            raise SystemExit(what)
        time.sleep(0.02)


class Work:
    """What is under way when a server dies: each kind again and again, in a thread of its own, until it fails.

    Args:
        options: What every call of the SDK takes to reach the server.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self.ends: dict[str, Exception] = {}
        self._boxes = {kind: Sandbox.create(**options) for kind in ("upload", "snapshot", "fork", "pause")}
        kinds = (self._create, self._upload, self._snapshot, self._fork, self._pause)
        self.threads = [threading.Thread(target=self._again, args=(kind,), daemon=True) for kind in kinds]

    def _again(self, once: Callable[[], None]) -> None:
        try:
            while True:
                once()
        except Exception as error:  # noqa: BLE001 - told apart by who reads it
            self.ends[once.__name__.strip("_")] = error

    def _create(self) -> None:
        Sandbox.create(**self._options).kill()

    def _upload(self) -> None:
        self._boxes["upload"].files.write("large", bytes(2_000_000))

    def _snapshot(self) -> None:
        self._boxes["snapshot"].create_snapshot(name="one")

    def _fork(self) -> None:
        for one in self._boxes["fork"].fork():
            if isinstance(one, Exception):
                raise one
            one.kill()

    def _pause(self) -> None:
        self._boxes["pause"].pause(mode=random.choice(("full", "filesystem")))
        self._boxes["pause"].connect()


def _groups_of(server: psutil.Process) -> set[Path]:
    """Gives the control groups that a server's sandboxes are in, as directories."""
    names: set[str] = set()
    for process in server.children(recursive=True):
        try:
            names |= set(re.findall(r"/(e2b-magic-[0-9a-f]+)", Path(f"/proc/{process.pid}/cgroup").read_text()))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return {place.path / name for place in find_places() for name in names}


def _strangers(pid: int | None) -> Iterator[psutil.Process]:
    """Gives the processes below this one that do not belong to a server; takes note of those that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    own = set() if pid is None else {pid, *(one.pid for one in psutil.Process(pid).children(recursive=True))}
    return (one for one in psutil.Process().children(recursive=True) if one.pid not in own)


def _check(directory: Path, endpoint: Endpoint, groups: set[Path]) -> None:
    """Looks at what a server that follows a dead one has left of it."""
    _until(lambda: not list(_strangers(endpoint.pid)), f"processes are left: {list(_strangers(endpoint.pid))}")
    if left := [group for group in groups if group.exists()]:
        raise SystemExit(f"control groups are left: {left}")
    options = _options_for(endpoint)
    pages = Sandbox.list(**options)
    listed = {one.sandbox_id: one.state for one in pages.next_items()}
    # Of those that ran nothing is left; each of the paused can be had again, or ended.
    found = {path.name for path in (directory / "sandboxes").iterdir()}
    if found != set(listed) or any(str(state.value) != "paused" for state in listed.values()):
        raise SystemExit(f"directories {found}, listed {listed}")
    for path in (directory / "snapshots").iterdir():
        if not (path / "snapshot.json").is_file():
            raise SystemExit(f"half a snapshot is left: {path}")
    for sandbox_id in listed:
        sandbox = Sandbox.connect(sandbox_id, **options)
        if sandbox.commands.run("echo here").stdout != "here\n":
            raise SystemExit(f"the paused {sandbox_id} does not run")
        sandbox.kill()


def _round(directory: Path, moment: float) -> None:
    endpoint = runtime.ensure(directory)
    options = _options_for(endpoint)
    steady = Sandbox.create(**options)
    steady.commands.run("setsid sleep 1000", background=True, timeout=0)
    work = Work(options)
    groups = _groups_of(psutil.Process(endpoint.pid))
    for thread in work.threads:
        thread.start()
    time.sleep(moment)
    os.kill(endpoint.pid, signal.SIGKILL)
    for thread in work.threads:
        thread.join(_PATIENCE)
    if any(thread.is_alive() for thread in work.threads):
        raise SystemExit("a client of the dead server's still waits")
    if strange := {name: end for name, end in work.ends.items() if not _is_plain(end)}:
        raise SystemExit(f"clients were told {strange}")
    following = runtime.ensure(directory)
    _check(directory, following, groups)
    headers = {"X-API-Key": following.api_key}
    told = httpx.get(f"{following.url}/sandboxes/{steady.sandbox_id}", headers=headers, trust_env=False)
    if told.status_code != 404 or "its files are lost" not in told.json()["message"]:
        raise SystemExit(f"of a lost sandbox it was told {told.text}")


def _is_plain(error: Exception) -> bool:
    """Whether an error says that the server, or the sandbox, is gone, and is one of the SDK's or of its transport."""
    module = type(error).__module__.partition(".")[0]
    return isinstance(error, SandboxException | ConnectionError | TimeoutError) or module in (
        "httpx",
        "httpcore",
        "pyqwest",
    )


def main(directory: Path, seed: int, rounds: int) -> None:
    """Kills as many servers as there are rounds, each at a moment that the seed decides."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    chance = random.Random(seed)
    for _ in range(rounds):
        _round(directory, chance.uniform(0, _LATEST))
    runtime.stop(directory)
    _until(lambda: not list(_strangers(None)), f"processes are left: {list(_strangers(None))}")
    if left := [path.name for path in (directory / "sandboxes").iterdir()]:
        raise SystemExit(f"directories are left: {left}")
    if mounted := [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line]:
        raise SystemExit(f"mounts are left: {mounted}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
