"""What of one tree is to be brought to another, and what of the other is to go."""

from __future__ import annotations

from collections.abc import Sequence

from e2b_magic.client.trees.scanning import Exclusions
from e2b_magic.records import TreeEntry


def excluded(entry: TreeEntry, exclusions: Exclusions) -> bool:
    """Whether an entry, or a directory above it, is left out."""
    parts = entry.name.split("/")
    above = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
    return any(exclusions.hold(name, directory=True) for name in above) or exclusions.hold(
        entry.name, directory=entry.type == "dir"
    )


def topmost(names: Sequence[str]) -> list[str]:
    """Gives the names that lie below no other: to remove those removes all."""
    top: list[str] = []
    # By their parts: as texts, `src.txt` would come between `src` and `src/x`.
    for name in sorted(names, key=lambda name: name.split("/")):
        if not top or not name.startswith(f"{top[-1]}/"):
            top.append(name)
    return top


def removable(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Gives those of the names that can be removed, and the topmost of those that cannot.

    No request can say a name that is not UTF-8; but what has one goes with a directory above it.
    """
    kept = [name for name in topmost(names) if not _is_utf8(name)]
    below = tuple(f"{name}/" for name in kept)
    return [name for name in names if not f"{name}/".startswith(below)], kept


def _is_utf8(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)


def differs(here: TreeEntry, there: TreeEntry | None) -> bool:
    """Whether an entry has to be brought: by checksum where there is one, else by size and time, to the second."""
    if there is None or here.type != there.type:
        return True
    if here.type == "file":
        same = here.checksum == there.checksum if here.checksum else int(here.modified_at) == int(there.modified_at)
        return here.size != there.size or not same or here.mode != there.mode
    return here.type == "link" and here.target != there.target
