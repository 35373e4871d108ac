"""The doors of a sandbox, each tried from inside through the E2B SDK; and tried again without what shuts it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from e2b import CommandExitException, Sandbox

from .conftest import Boxes, tried
from .doors import DOORS, PRELUDE, Door

pytestmark = pytest.mark.sandbox

X86_ONLY = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are x86-64's")


def _parameters(doors: Iterable[Door]) -> list[Any]:
    return [pytest.param(door, id=door.name, marks=[X86_ONLY] if door.x86_64 else []) for door in doors]


@pytest.mark.parametrize("door", _parameters(DOORS))
def test_a_door_is_shut(door: Door, contained: Sandbox) -> None:
    """What must not work from inside does not."""
    assert tried(contained, door.probe) == door.shut


@pytest.mark.parametrize("door", _parameters(door for door in DOORS if door.can_be_opened))
def test_a_guard_matters(door: Door, boxes: Boxes) -> None:
    """Without its guards the same door is open, so that it is these which shut it."""
    assert tried(boxes.without(*door.guards), door.probe) != door.shut


@pytest.mark.parametrize("door", _parameters(door for door in DOORS if door.opened))
def test_what_is_not_there_was_not_shown(door: Door, boxes: Boxes, also: Callable[..., None]) -> None:
    """What is shut by its absence alone is open as soon as it is shown."""
    also(*door.opened)
    assert tried(boxes.new(), door.probe) != door.shut


INT_80 = """
import mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))  # mov eax, 20 (getpid); int 0x80; ret
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
print(ctypes.CFUNCTYPE(ctypes.c_int)(address)() != 0)
"""


@X86_ONLY
def test_a_foreign_architecture_is_killed(contained: Sandbox, boxes: Boxes) -> None:
    """A 32-bit call, whose number means another call, kills who makes it; but for the filter it would not."""
    by_signal = 128 + 31  # as bash tells of SIGSYS
    for sandbox, killed in ((contained, True), (boxes.without("system calls"), False)):
        sandbox.files.write("/tmp/int80.py", PRELUDE + INT_80)
        try:
            sandbox.commands.run("python3 /tmp/int80.py; exit $?")
            code = 0
        except CommandExitException as ended:
            code = ended.exit_code
        # A kernel without that interface ends it too, by another signal.
        assert (code == by_signal) == killed
