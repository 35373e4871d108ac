"""A directory tree that stands in for the host's own system inside: what a template is made of.

Only `/usr` gets a layer that a sandbox can write; everything else of the tree is shown read-only. A link is made anew
inside and never followed out here: in a tree from elsewhere `/etc/x` may be a link to anything on the host.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from e2b_magic.exceptions import ConfigurationError

# What a sandbox has of its own, or the kernel's, whatever a tree holds there.
_OWN = frozenset({"dev", "home", "lost+found", "proc", "root", "run", "sys", "tmp", "usr"})
_OWN_BELOW = {
    "etc": frozenset({"group", "hosts", "mtab", "nsswitch.conf", "passwd", "resolv.conf", "shadow", "gshadow"}),
    "opt": frozenset({"e2b-magic"}),
    "var": frozenset({"tmp", "run", "lock"}),
}
_SHELLS = ("bin/bash", "usr/bin/bash")


@dataclass(frozen=True, slots=True)
class Placed:
    """One thing of a tree, and where it goes.

    Attributes:
        inside: Its path inside.
        source: Its path out here; None for a link.
        target: What the link says; empty for none.
    """

    inside: str
    source: Path | None
    target: str = ""


def require_usable(tree: Path) -> None:
    """Lets a tree be used that a sandbox can run on.

    Raises:
        ConfigurationError: What it lacks.
    """
    if not _is_directory(tree):
        raise ConfigurationError(f"{tree} is no directory, as a template's tree must be")
    if not _is_directory(tree / "usr"):
        raise ConfigurationError(f"{tree} has no directory usr: a template's tree is a whole root file system")
    if not any(_program(tree, shell) for shell in _SHELLS):
        raise ConfigurationError(f"{tree} has no /bin/bash, which E2B's clients run every command by: install it there")


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _program(tree: Path, name: str) -> bool:
    """Whether there is a program, or a link that may lead to one inside: where it leads, only the inside can tell."""
    try:
        found = (tree / name).lstat().st_mode
    except OSError:
        return False
    return stat.S_ISLNK(found) or bool(stat.S_ISREG(found) and found & 0o111)


def placements(tree: Path) -> Iterator[Placed]:
    """Gives what of a tree is shown, but for its `/usr`.

    Args:
        tree: Its path.
    """
    for name in sorted(os.listdir(tree)):  # noqa: PTH208 - names, which are needed twice
        if name in _OWN_BELOW and _is_directory(tree / name):
            children = sorted(set(os.listdir(tree / name)) - _OWN_BELOW[name])  # noqa: PTH208 - as above
            for child in children:
                yield from _place(tree / name / child, f"/{name}/{child}")
        elif name not in _OWN:
            yield from _place(tree / name, f"/{name}")


def _place(source: Path, inside: str) -> Iterator[Placed]:
    found = source.lstat().st_mode
    if stat.S_ISLNK(found):
        yield Placed(inside, None, os.readlink(source))  # noqa: PTH115 - as it is written, not as a path
    elif stat.S_ISDIR(found) or stat.S_ISREG(found):
        yield Placed(inside, source)
    # A device, a FIFO or a socket is nothing that a sandbox is given.
