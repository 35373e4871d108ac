"""A tree of this machine as a tar archive, in pieces, with one piece in memory at a time."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from e2b_magic.exceptions import FileError
from e2b_magic.records import TreeEntry

_KINDS = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}


def pieces_of(path: Path, size: int) -> Iterator[bytes]:
    """Gives a file's content.

    Args:
        path: The file.
        size: The largest piece, in bytes.
    """
    with path.open("rb") as file:
        while piece := file.read(size):
            yield piece


def pack(root: Path, entries: Iterable[TreeEntry], size: int) -> Iterator[bytes]:
    """Gives the archive of a tree's entries.

    Args:
        root: Where the tree lies.
        entries: What to put in, by names from there.
        size: The largest piece, in bytes.

    Raises:
        FileError: A file changed while it was read.
    """
    return _gathered(_blocks(root, entries, size), size)


def _blocks(root: Path, entries: Iterable[TreeEntry], size: int) -> Iterator[bytes]:
    for entry in entries:
        yield _header(entry)
        if entry.type == "file":
            length = 0
            for piece in pieces_of(root / entry.name, size):
                length += len(piece)
                yield piece
            if length != entry.size:
                raise FileError(f"{root / entry.name} changed while it was read: try again when nothing writes to it")
            yield bytes(-length % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _header(entry: TreeEntry) -> bytes:
    info = tarfile.TarInfo(entry.name)
    info.type = _KINDS[entry.type]
    info.size, info.mtime, info.mode = entry.size, entry.modified_at, entry.mode
    info.linkname = entry.target
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _gathered(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    waiting = bytearray()
    for block in blocks:
        if len(waiting) + len(block) > size:
            yield bytes(waiting)
            waiting.clear()
        waiting += block
    yield bytes(waiting)
