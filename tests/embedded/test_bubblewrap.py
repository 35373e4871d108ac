"""Bubblewrap's arguments, as the pure function gives them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from e2b_magic.embedded.containment import bubblewrap
from e2b_magic.embedded.containment.interpreter import Interpreter

LAYOUT = bubblewrap.Layout(
    state=Path("/state"),
    overlay=True,
    top_level={"bin": "usr/bin", "lib": None},
    interpreter=Interpreter(
        program="/opt/p/bin/python3.11", shown=((Path("/host/lib"), "/opt/p/lib"),), names=("python3",)
    ),
    shared_memory_bytes=1024,
    data={"/etc/passwd": (5, 0o444)},
    seccomp=6,
    information=7,
    boot_id=8,
)
MOUNTS = {"--bind": 2, "--ro-bind": 2, "--ro-bind-try": 2, "--overlay": 3, "--tmpfs": 1, "--proc": 1, "--dev": 1}
MOUNTS |= {"--dir": 1, "--symlink": 2, "--ro-bind-data": 2}


def _destinations() -> list[str]:
    words = bubblewrap.arguments(LAYOUT).decode().split("\0")
    return [words[place + MOUNTS[word]] for place, word in enumerate(words) if word in MOUNTS]


def test_nothing_is_mounted_beneath_what_the_sandbox_writes() -> None:
    """No destination lies beneath a writable one, where a planted link would lead bubblewrap out."""
    writable = ("/home/user", "/root", "/tmp", "/usr")
    assert set(writable) <= set(_destinations())
    assert [path for path in _destinations() if any(path.startswith(f"{top}/") for top in writable)] == []


def test_writable_files_come_last() -> None:
    """The writable directories are mounted after everything else."""
    assert _destinations()[-3:] == ["/tmp", "/root", "/home/user"]


def test_each_guard_can_be_left_out_alone() -> None:
    """Leaving a guard out takes its own words away and no others."""
    for rule in bubblewrap.rules(LAYOUT):
        words = bubblewrap.arguments(LAYOUT, without=frozenset({rule.guard})).split(b"\0")
        kept = [word for other in bubblewrap.rules(LAYOUT) if other.guard != rule.guard for word in other.arguments]
        assert words == [*(word.encode() for word in kept), b""]


@pytest.mark.parametrize(("overlay", "word"), [(True, "--overlay"), (False, "--ro-bind")])
def test_usr_is_a_layer_or_read_only(*, overlay: bool, word: str) -> None:
    """The host's /usr is never bound writable."""
    layout = bubblewrap.Layout(**{name: getattr(LAYOUT, name) for name in LAYOUT.__slots__} | {"overlay": overlay})
    words = bubblewrap.arguments(layout).decode().split("\0")
    place = words.index("/usr", words.index("--overlay-src") + 2 if overlay else 0)
    assert word in words[place - 3 : place]
    assert ("--bind", "/usr") not in set(pairwise(words))


def test_the_agents_command_tells_nothing_of_the_host() -> None:
    """The command line that /proc/1/cmdline shows holds paths of the inside alone."""
    assert bubblewrap.command(LAYOUT, 9) == [
        "/opt/p/bin/python3.11",
        *("-I", "-S", "-E", "-B"),
        "/opt/e2b-magic/agent.pyc",
        "9",
    ]
