"""Unpacking an archive that a sandbox made, which may be a hostile one.

Nothing is written outside the destination, whatever the archive says: a name with `..`, an absolute one, or one that
would lead through a link is refused, and so the whole archive. A link that leads out of the destination is not made,
nor is a device, a pipe or a socket: they are named in `left_out`. tarfile's own filters are not relied on: releases of
Python that this package supports have holes in them (CVE-2025-4517).

A destination that is not there yet appears when all of it is whole. In one that is there, each file takes its place
when it is whole.
"""

from __future__ import annotations

import itertools
import os
import posixpath
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

from e2b_magic.client.trees.placing import Habits, Names, beside, habits_of, replace_file, write_new_file
from e2b_magic.client.trees.reading import Archive, DamagedArchiveError, Member
from e2b_magic.exceptions import FileError

_DEEPEST = 200
"""How many names a path may have: functions that call themselves for each, the standard library's too, end at 1,000."""
_FOREIGN = frozenset('\\:*?"<>|') if os.name == "nt" else frozenset()


class Unpacking:
    """An archive on its way into a directory.

    Args:
        destination: The directory; made when it is missing.

    Attributes:
        files: How many files and links have been written.
        size: Their bytes.
        left_out: What was not written, each with the reason.
    """

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        self.files = 0
        self.size = 0
        self.left_out: list[str] = []
        self._new = not os.path.lexists(destination)
        self._root = str(beside(destination) if self._new else destination)
        self._directories: set[tuple[str, ...]] = {()}
        self._siblings: dict[str, str] = {}
        self._times: list[tuple[str, int, int]] = []
        self._habits, self._names = Habits(), Names()

    def unpack(self, pieces: Iterable[bytes]) -> None:
        """Writes what an archive holds.

        Args:
            pieces: The archive, cut anywhere.

        Raises:
            FileError: It would write outside the destination, is damaged, or cannot be written.
        """
        try:
            Path(self._root).mkdir(parents=True, exist_ok=True)
            self._habits = habits_of(Path(self._root))
            self._names = Names(folded=self._habits.folds_names)
            archive = Archive(pieces)
            for member in archive.members():
                self._place(member, archive)
            self._finish()
        except DamagedArchiveError as error:
            raise FileError(f"The archive from the sandbox is damaged ({error}): try again") from None
        except OSError as error:
            raise FileError(f"{error.filename or self.destination}: {error.strerror}") from None
        finally:
            if self._new:
                shutil.rmtree(self._root, ignore_errors=True)

    def _finish(self) -> None:
        # Last, since every file written in a directory sets its time, and one may be without write permission.
        for path, modified, mode in reversed(self._times):
            os.utime(path, (modified, modified))
            Path(path).chmod(mode)
        if self._new:
            Path(self._root).rename(self.destination)

    def _place(self, member: Member, archive: Archive) -> None:
        if member.kind == tarfile.REGTYPE and (beside_others := self._beside_others(member.name)):
            self._write(beside_others, member, archive)
            return
        parts = self._parts(member.name)
        if not parts:
            if self._new and member.kind == tarfile.DIRTYPE:
                self._times.append((self._root, member.modified, member.mode & 0o777 | 0o700))
            return
        path = self._at(parts)
        if member.kind == tarfile.DIRTYPE:
            self._directory(parts)
            self._times.append((path, member.modified, member.mode & 0o777 | 0o700))
        elif member.kind not in (tarfile.REGTYPE, tarfile.SYMTYPE):
            self.left_out.append(f"{member.name} is neither file, directory nor link")
        elif (other := self._names.taken_by(parts)) is not None:
            self.left_out.append(f"{member.name} and {other} have the same name on this file system")
        elif member.kind == tarfile.REGTYPE:
            self._directory(parts[:-1])
            self._siblings[member.name[: -len(parts[-1])]] = path[: -len(parts[-1])]
            self._write(path, member, archive)
        else:
            self._link(parts, path, member.target)

    def _beside_others(self, name: str) -> str | None:
        """Gives where a file goes whose directory another one has gone to, as of most: it needs no second look."""
        cut = name.rfind("/") + 1
        directory = self._siblings.get(name[:cut])
        if directory is None or name[cut:] in ("", ".", "..") or _FOREIGN or self._habits.folds_names:
            return None
        return directory + name[cut:]

    def _at(self, parts: tuple[str, ...]) -> str:
        return os.path.join(self._root, *parts)  # noqa: PTH118  ten thousand paths are three times as slow with pathlib

    def _parts(self, name: str) -> tuple[str, ...]:
        parts = tuple([part for part in name.split("/") if part and part != "."])
        if name.startswith("/") or ".." in parts or (_FOREIGN and any(_FOREIGN & set(part) for part in parts)):
            raise FileError(f"The archive holds {name!r}, which may lead out of {self.destination}: it is refused")
        if len(parts) > _DEEPEST:
            raise FileError(f"The archive holds {name[:50]!r}…, deeper than {_DEEPEST} directories: it is refused")
        return parts

    def _directory(self, parts: tuple[str, ...]) -> None:
        """Makes a directory, or finds it there; never goes through a link, which may lead anywhere."""
        if parts in self._directories:
            return
        self._directory(parts[:-1])
        path = Path(self._at(parts))
        if path.is_symlink():
            raise FileError(f"{path} is a link, and nothing is written through one: choose another place")
        path.mkdir(exist_ok=True)
        self._directories.add(parts)

    def _write(self, path: str, member: Member, archive: Archive) -> None:
        mode, modified = member.mode & 0o777, member.modified
        if self._new:  # in a tree that nobody has seen yet there is nothing to keep until the new file is whole
            write_new_file(path, archive.content(), mode=mode, modified=modified, kept=self._habits.kept)
        else:
            replace_file(path, archive.content(), mode=mode, modified=modified)
        self.files += 1
        self.size += member.size

    def _leads_inside(self, above: tuple[str, ...], target: str) -> bool:
        """Whether a link stays inside, whatever links there are and will be.

        Every link made here leads inside; so does one that climbs from its own directory, which is none, and goes down
        from there. `a/../b` may climb out of where the link `a` leads, which no look at the text can tell.
        """
        climbed = list(itertools.dropwhile(lambda part: part in ("..", ".", ""), target.split("/")))
        inside = posixpath.normpath(posixpath.join(*above, target))
        if posixpath.isabs(target) or ".." in climbed or inside == ".." or inside.startswith("../"):
            return False
        # Past links that were in the destination before.
        root = os.path.realpath(self._root)
        return os.path.commonpath([root, os.path.realpath(self._at((inside,)))]) == root

    def _link(self, parts: tuple[str, ...], path: str, target: str) -> None:
        if not self._leads_inside(parts[:-1], target):
            self.left_out.append(f"{'/'.join(parts)} is a link that may lead out of the tree, to {target}")
            return
        self._directory(parts[:-1])
        part = beside(Path(path))
        part.symlink_to(target)
        try:
            part.replace(path)
        except OSError:
            part.unlink()
            raise
        self.files += 1
