"""A tree of this machine as a tar archive, in pieces, with one piece in memory at a time.

tarfile would do, but for its speed: of ten thousand small files it takes longer to write the headers than the files
take to be read. So the header of an ordinary entry is written here, and tarfile's own for what has a long name or a
number that does not fit.
"""

from __future__ import annotations

import os
import struct
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from e2b_magic.exceptions import FileError
from e2b_magic.records import TreeEntry

_KINDS: Final = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}
# Name, mode, owner, group, size, time, checksum, kind, link and GNU's magic; NULs from there on. A number has as many
# octal digits as its field has room for beside a NUL.
_HEADER: Final = struct.Struct("100s8s8s8s12s12s8sc100s8s247x")
_NOBODY: Final = b"0000000"
_BLANK: Final = b" " * 8
_MAGIC: Final = b"ustar  "
_NAME, _NUMBER = 100, 8**11
_CHECKSUM: Final = slice(148, 156)


def pieces_of(path: Path, size: int) -> Iterator[bytes]:
    """Gives a file's content.

    Args:
        path: The file.
        size: The largest piece, in bytes.
    """
    with path.open("rb", buffering=0) as file:
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
    above = os.fspath(root)
    for entry in entries:
        yield _header(entry)
        if entry.type == "file":
            yield from _content(f"{above}/{entry.name}", entry.size, size)
            yield bytes(-entry.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _content(path: str, expected: int, size: int) -> Iterator[bytes]:
    left = expected
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  ten thousand paths take longer with pathlib
        # A byte more than there should be, so that one look tells whether the file has grown.
        while left >= 0 and (piece := file.read(min(left + 1, size))):
            left -= len(piece)
            yield piece
            if not left and len(piece) < size:
                return  # a read that gave less than it might have is the last one, of a file on a disk
    if left:
        raise FileError(f"{path} changed while it was read: try again when nothing writes to it")


def _header(entry: TreeEntry) -> bytes:
    name, target = (text.encode("utf-8", "surrogateescape") for text in (entry.name, entry.target))
    kind, modified = _KINDS[entry.type], int(entry.modified_at)
    if entry.type == "dir":
        name += b"/"
    if max(len(name), len(target)) > _NAME or entry.size >= _NUMBER or not 0 <= modified < _NUMBER:
        return _tarfiles_header(entry, kind)
    mode, length, time = b"%07o" % entry.mode, b"%011o" % entry.size, b"%011o" % modified
    block = _HEADER.pack(name, mode, _NOBODY, _NOBODY, length, time, _BLANK, kind, target, _MAGIC)
    return b"%b%06o\x00 %b" % (block[: _CHECKSUM.start], sum(block), block[_CHECKSUM.stop :])


def _tarfiles_header(entry: TreeEntry, kind: bytes) -> bytes:
    info = tarfile.TarInfo(entry.name)
    info.type, info.linkname = kind, entry.target
    info.size, info.mtime, info.mode = entry.size, entry.modified_at, entry.mode
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _gathered(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    waiting: list[bytes] = []
    length = 0
    for block in blocks:
        if length + len(block) > size:
            yield b"".join(waiting)
            waiting.clear()
            length = 0
        waiting.append(block)
        length += len(block)
    yield b"".join(waiting)
