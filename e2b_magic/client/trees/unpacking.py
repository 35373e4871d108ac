"""Unpacking an archive that a sandbox made, which may be a hostile one.

Nothing is written outside the destination, whatever the archive says: a name with `..`, an absolute one, or one that
would lead through a link is refused, and so the whole archive. A link that leads out of the destination is not made,
nor is a device, a pipe or a socket: they are named in `left_out`. tarfile's own filters are not relied on: releases of
Python that this package supports have holes in them (CVE-2025-4517).

A destination that is not there yet appears when all of it is whole. In one that is there, each file takes its place
when it is whole.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import tarfile
import uuid
from pathlib import Path
from typing import IO

from e2b_magic.exceptions import FileError

_FOREIGN = frozenset('\\:*?"<>|') if os.name == "nt" else frozenset()
_COPY = 1024 * 1024


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
        self._root = str(_beside(destination) if self._new else destination)
        self._directories: set[tuple[str, ...]] = {()}
        self._times: list[tuple[str, float, int]] = []

    def unpack(self, archive: IO[bytes]) -> None:
        """Writes what an archive holds.

        Args:
            archive: Read from its beginning to its end.

        Raises:
            FileError: It would write outside the destination, is damaged, or cannot be written.
        """
        try:
            Path(self._root).mkdir(parents=True, exist_ok=True)
            with tarfile.open(fileobj=archive, mode="r|", encoding="utf-8", errors="surrogateescape") as members:
                for member in members:
                    self._place(member, members)
            self._finish()
        except tarfile.TarError as error:
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

    def _place(self, member: tarfile.TarInfo, members: tarfile.TarFile) -> None:
        parts = self._parts(member.name)
        if not parts:
            return
        path = self._at(parts)
        if member.isdir():
            self._directory(parts)
            self._times.append((path, member.mtime, member.mode & 0o777 | 0o700))
        elif member.isreg():
            self._directory(parts[:-1])
            content = members.extractfile(member)
            assert content is not None  # noqa: S101  a regular member has one
            self._write(path, content, member)
            self.files += 1
            self.size += member.size
        elif member.issym():
            self._link(parts, path, member.linkname)
        else:
            self.left_out.append(f"{member.name} is neither file, directory nor link")

    def _at(self, parts: tuple[str, ...]) -> str:
        return os.path.join(self._root, *parts)  # noqa: PTH118  ten thousand paths are three times as slow with pathlib

    def _parts(self, name: str) -> tuple[str, ...]:
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        if name.startswith("/") or ".." in parts or any(_FOREIGN & set(part) for part in parts):
            raise FileError(f"The archive holds {name!r}, which may lead out of {self.destination}: it is refused")
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

    def _write(self, path: str, content: IO[bytes], member: tarfile.TarInfo) -> None:
        mode = member.mode & 0o777
        if not self._new:
            replace_file(Path(path), content, mode=mode, modified=member.mtime)
            return
        # In a tree that nobody has seen yet: with O_EXCL, which follows no link and takes no second file of a name.
        with open(path, "xb") as file:  # noqa: PTH123  see _at
            shutil.copyfileobj(content, file, _COPY)
        os.chmod(path, mode)  # noqa: PTH101  see _at
        os.utime(path, (member.mtime, member.mtime))

    def _link(self, parts: tuple[str, ...], path: str, target: str) -> None:
        inside = posixpath.normpath(posixpath.join(*parts[:-1], target))
        if posixpath.isabs(target) or inside == ".." or inside.startswith("../"):
            self.left_out.append(f"{'/'.join(parts)} is a link out of the tree, to {target}")
            return
        self._directory(parts[:-1])
        part = _beside(Path(path))
        part.symlink_to(target)
        try:
            part.replace(path)
        except OSError:
            part.unlink()
            raise
        self.files += 1


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex[:12]}")


def replace_file(path: Path, content: IO[bytes], *, mode: int | None = None, modified: float | None = None) -> int:
    """Writes a file that takes its place when it is whole, and gives its size in bytes.

    Args:
        path: Where it is to stand; a link there is replaced, not followed.
        content: Read to its end.
        mode: Its permission bits; as this machine makes files when None.
        modified: Its time, in seconds since the epoch; now when None.
    """
    part = _beside(path)
    try:
        with part.open("xb") as file:
            shutil.copyfileobj(content, file, _COPY)
            size = file.tell()
        if mode is not None:
            part.chmod(mode)
        if modified is not None:
            os.utime(part, (modified, modified))
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return size
