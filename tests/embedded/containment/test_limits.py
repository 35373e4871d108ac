"""Limits, run into from inside through the E2B SDK; each beside a sandbox that has none, which is not stopped."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import psutil
import pytest
from e2b import CommandExitException, NotEnoughSpaceException, Sandbox, SandboxException

from e2b_magic.embedded.containment.limits import MEBIBYTE, Limits

from .conftest import Boxes

pytestmark = pytest.mark.sandbox

FREE = Limits(processes=None, open_files=None, file_bytes=None, memory_bytes=None, disk_bytes=None)
FORKS = """
import errno, os, signal
children = []
try:
    while len(children) < 100:
        if (child := os.fork()) == 0:
            signal.pause()
        children.append(child)
except OSError as error:
    print(errno.errorcode[error.errno])
else:
    print("done")
for child in children:
    os.kill(child, 9)
"""
OPENS = """
import errno, os
try:
    for _ in range(200):
        os.open("/dev/null", os.O_RDONLY)
except OSError as error:
    print(errno.errorcode[error.errno])
else:
    print("done")
"""
GROWS = """
import errno, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with open("big", "wb", 0) as file:
        for _ in range(5):
            file.write(bytes(1 << 20))
except OSError as error:
    print(errno.errorcode[error.errno])
else:
    print("done")
"""
HOARDS = """
try:
    hoard = bytearray(512 << 20)
except MemoryError:
    print("MemoryError")
else:
    print("done")
"""


@dataclass(frozen=True)
class Bound:
    """A limit, and what tells of running into it."""

    limits: Limits
    probe: str
    told: str


BOUNDS = {
    "a fork bomb": Bound(Limits(processes=40), FORKS, "EAGAIN"),
    "open files": Bound(Limits(open_files=100), OPENS, "EMFILE"),
    "a file that grows": Bound(Limits(file_bytes=MEBIBYTE), GROWS, "EFBIG"),
    "memory": Bound(Limits(memory_bytes=256 * MEBIBYTE), HOARDS, "MemoryError"),
}


def _said(sandbox: Sandbox, probe: str) -> str:
    return sandbox.commands.run(f"python3 -c {shlex.quote(probe)}").stdout.strip()


@pytest.mark.parametrize("bound", [pytest.param(bound, id=name) for name, bound in BOUNDS.items()])
def test_a_limit_is_run_into(bound: Bound, boxes: Boxes) -> None:
    """What grows without end ends at its limit, and the sandbox goes on; without the limit it would not end."""
    bounded = boxes.new(limits=bound.limits)
    assert _said(bounded, bound.probe) == bound.told
    assert bounded.commands.run("echo alive").stdout == "alive\n"
    assert _said(boxes.new(limits=FREE), bound.probe) == "done"


def test_a_full_disk(boxes: Boxes) -> None:
    """Who writes past the quota is killed, and an upload is told why it is refused; without a quota neither is."""
    fill = "for i in $(seq 200); do head -c 1000000 /dev/zero > f$i; sleep 0.01; done; echo done"
    bounded, free = boxes.new(limits=Limits(disk_bytes=30 * MEBIBYTE)), boxes.new(limits=FREE)
    with pytest.raises((CommandExitException, SandboxException)):
        bounded.commands.run(fill)
    with pytest.raises(NotEnoughSpaceException):
        bounded.files.write("more", b"x")
    assert free.commands.run(fill).stdout == "done\n"
    free.files.write("more", b"x")


def test_output_that_nobody_reads_waits(boxes: Boxes) -> None:
    """Floods, with lines and without, are held by the sandbox's own kernel, not by the server's memory."""
    sandbox = boxes.new()
    before = psutil.Process().memory_info().rss
    for flood in ("yes", "cat /dev/zero"):
        sandbox.commands.run(flood, background=True, timeout=0)
    assert sandbox.commands.run("sleep 1; echo alive").stdout == "alive\n"
    assert psutil.Process().memory_info().rss - before < 64 * MEBIBYTE
