"""Looking through a directory of this machine: what is in it, and what is left out of it.

Links are seen as links and never followed, so that a tree never brings what lies outside it. What is neither file,
directory nor link (a socket, a pipe, a device) is left out and named.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.records import TreeEntry

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_READ = 1024 * 1024
_SOON = 0.5
"""For how long entries are given as they are found, in seconds: before, nobody is shown how many bytes there are."""
_AHEAD = 2
"""How many entries are found for one that is given afterwards."""
_WORTH = 4096
"""As many bytes of the one that is given have another one found."""
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}


@dataclass(slots=True)
class Tree:
    """What was found in a directory.

    Attributes:
        root: The directory.
        entries: What is in it, each directory before what it holds.
        left_out: What cannot be brought, each with the reason; what a pattern excludes is not here.
    """

    root: Path
    entries: list[TreeEntry] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


class Exclusions:
    """Patterns of what is left out, in the language of `.gitignore`.

    Args:
        patterns: Patterns that hold for the whole tree.
        gitignore: Whether the `.gitignore` files in the tree hold too, and `.git` itself is left out.
    """

    def __init__(self, patterns: Sequence[str] = (), *, gitignore: bool = False) -> None:
        self._specs: list[tuple[str, GitIgnoreSpec]] = []
        self._gitignore = gitignore
        self._add("", [*patterns, ".git/"] if gitignore else patterns)

    def _add(self, directory: str, lines: Sequence[str]) -> None:
        if not lines:
            return
        from pathspec import GitIgnoreSpec  # here, since most transfers exclude nothing

        try:
            self._specs.append((directory, GitIgnoreSpec.from_lines(lines)))
        except ValueError as error:
            where = f"{directory}.gitignore: " if directory or self._gitignore else ""
            raise InvalidRequestError(f"{where}a pattern cannot be read: {error}") from None

    def enter(self, directory: Path, name: str) -> None:
        """Takes in the `.gitignore` of a directory, if it has one and that is to hold."""
        if self._gitignore and (path := directory / ".gitignore").is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            self._add(f"{name}/" if name else "", lines)

    def hold(self, name: str, *, directory: bool) -> bool:
        """Whether something is left out.

        Args:
            name: Its path from the tree's root.
            directory: Whether it is one.
        """
        for root, spec in reversed(self._specs):
            if name.startswith(root):
                found = spec.check_file(name[len(root) :] + ("/" if directory else "")).include
                if found is not None:  # the innermost file that has a say decides, as with git
                    return found
        return False


def scan(root: Path, exclusions: Exclusions | None = None) -> Tree:
    """Gives all that is in a directory, in the order of the names.

    Args:
        root: The directory.
        exclusions: What to leave out.

    Raises:
        InvalidRequestError: It is no directory, or cannot be read.
    """
    if not root.is_dir():
        raise InvalidRequestError(f"{root} is no directory")
    tree = Tree(root)
    tree.entries.extend(_walk(tree, "", exclusions or Exclusions()))
    return tree


class Finding:
    """What is in a directory, to be carried while it is found.

    Args:
        root: The directory.
        exclusions: What to leave out.

    Attributes:
        tree: What has been found.
        size: The bytes of all that there is; 0 until all has been found.
    """

    def __init__(self, root: Path, exclusions: Exclusions) -> None:
        self.tree = Tree(root)
        self.size = 0
        self._entries = _walk(self.tree, "", exclusions)

    def __iter__(self) -> Iterator[TreeEntry]:
        """Gives the entries; finds more than one for each, after a while, so that their size is known before their end.

        Not all of them at once, nor from the beginning: whoever unpacks what has come would have nothing to do.
        """
        entries, given, wanted, soon = self.tree.entries, 0, 1, time.monotonic() + _SOON
        while found := list(itertools.islice(self._entries, wanted)):
            entries.extend(found)
            entry = entries[given]
            yield entry
            given, wanted = given + 1, 1 if time.monotonic() < soon else _AHEAD + entry.size // _WORTH
        self.size = sum(entry.size for entry in entries)
        yield from entries[given:]


def _walk(tree: Tree, directory: str, exclusions: Exclusions) -> Iterator[TreeEntry]:
    path = tree.root / directory
    try:
        exclusions.enter(path, directory)
        with os.scandir(path) as found:
            children = sorted(found, key=lambda child: child.name)
    except OSError as error:
        tree.left_out.append(f"{directory or tree.root} cannot be read ({error.strerror})")
        return
    for child in children:
        name = f"{directory}/{child.name}" if directory else child.name
        folder = child.is_dir(follow_symlinks=False)
        if exclusions.hold(name, directory=folder):
            continue
        entry = _told(child.stat(follow_symlinks=False), child, name)
        if entry.type == "other":
            tree.left_out.append(f"{name} is neither file, directory nor link")
            continue
        yield entry
        if folder:
            yield from _walk(tree, name, exclusions)


def entry_at(path: Path, name: str) -> TreeEntry:
    """Gives the entry of what stands at a path, not following a link."""
    return _told(path.lstat(), path, name)


def _told(found: os.stat_result, path: os.PathLike[str], name: str) -> TreeEntry:
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "other")
    return TreeEntry(
        name=name,
        type=kind,
        size=found.st_size if kind == "file" else 0,
        modified_at=found.st_mtime,
        mode=found.st_mode & 0o777,
        target=str(Path(path).readlink()) if kind == "link" else "",
    )


def with_checksum(root: Path, entry: TreeEntry) -> TreeEntry:
    """Gives a file's entry with its SHA-256."""
    digest = hashlib.sha256()
    with (root / entry.name).open("rb") as file:
        while chunk := file.read(_READ):
            digest.update(chunk)
    return replace(entry, checksum=digest.hexdigest())
