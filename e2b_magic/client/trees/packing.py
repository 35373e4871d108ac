"""A tree of this machine as a tar archive, or a file as it is, in pieces, with one piece in memory at a time.

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
from e2b_magic.worker.requests.transfers import CHUNK, PIECE

Piece = list[bytes]
"""What is sent at once, in chunks."""
_FIRST: Final = PIECE // 4
"""What the first piece has, in bytes, so that it comes soon. Each has twice as much as the last, up to `PIECE`."""
_KINDS: Final = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}
# Name, mode, owner, group, size, time, checksum, kind, link and GNU's magic; NULs from there on. A number has as many
# octal digits as its field has room for beside a NUL.
_HEADER: Final = struct.Struct("100s8s8s8s12s12s8sc100s8s247x")
_READING: Final = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NOBODY: Final = b"0000000"
_MAGIC: Final = b"ustar  "
_NAME, _NUMBER = 100, 8**11
# What the checksum, the sum of all bytes, is made of in every header: its own field counts as blanks.
_SAME: Final = sum(2 * _NOBODY + 8 * b" " + _MAGIC)


def pieces_of(path: str, expected: int) -> Iterator[Piece]:
    """Gives a file's content.

    Args:
        path: The file.
        expected: How long it is, in bytes.

    Raises:
        FileError: It changed its length while it was read.
    """
    return _pieces(_content(path, expected))


def _content(path: str, expected: int) -> Iterator[bytes]:
    left = expected
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  as in `_whole`
        while left >= 0 and (chunk := file.read(CHUNK)):
            left -= len(chunk)
            if left >= 0:
                yield chunk
    if left:
        raise _changed(path)


def pack(root: Path, entries: Iterable[TreeEntry]) -> Iterator[Piece]:
    """Gives the archive of a tree's entries.

    Args:
        root: Where the tree lies.
        entries: What to put in, by names from there.

    Raises:
        FileError: A file changed while it was read.
    """
    return _pieces(_chunks(_blocks(root, entries)))


def _blocks(root: Path, entries: Iterable[TreeEntry]) -> Iterator[bytes]:
    above = os.fspath(root)
    for entry in entries:
        yield _header(entry)
        if entry.type == "file":
            path = f"{above}/{entry.name}"
            if entry.size < CHUNK:
                yield _whole(path, entry.size)
            else:
                yield from _content(path, entry.size)
            if padding := -entry.size % tarfile.BLOCKSIZE:
                yield bytes(padding)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _whole(path: str, expected: int) -> bytes:
    # Without a file object, which asks the system twice as much as the reading does.
    descriptor = os.open(path, _READING)
    try:
        content = os.read(descriptor, expected + 1)  # a byte more than there should be tells whether it has grown
    finally:
        os.close(descriptor)
    if len(content) != expected:
        raise _changed(path)
    return content


def _changed(path: str) -> FileError:
    return FileError(f"{path} changed while it was read: try again when nothing writes to it")


def _header(entry: TreeEntry) -> bytes:
    name, target = entry.name.encode("utf-8", "surrogateescape"), entry.target.encode("utf-8", "surrogateescape")
    kind, modified = _KINDS[entry.type], int(entry.modified_at)
    if entry.type == "dir":
        name += b"/"
    if max(len(name), len(target)) > _NAME or entry.size >= _NUMBER or not 0 <= modified < _NUMBER:
        return _tarfiles_header(entry, kind)
    mode, length, time = b"%07o" % entry.mode, b"%011o" % entry.size, b"%011o" % modified
    total = _SAME + sum(b"".join((name, mode, length, time, kind, target)))
    return _HEADER.pack(name, mode, _NOBODY, _NOBODY, length, time, b"%06o\x00 " % total, kind, target, _MAGIC)


def _tarfiles_header(entry: TreeEntry, kind: bytes) -> bytes:
    info = tarfile.TarInfo(entry.name)
    info.type, info.linkname = kind, entry.target
    info.size, info.mtime, info.mode = entry.size, entry.modified_at, entry.mode
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _chunks(blocks: Iterator[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    length = 0
    for block in blocks:
        if length + len(block) > CHUNK:
            yield b"".join(waiting)
            waiting.clear()
            length = 0
        waiting.append(block)
        length += len(block)
    yield b"".join(waiting)


def _pieces(chunks: Iterator[bytes]) -> Iterator[Piece]:
    piece: Piece = []
    size = room = _FIRST
    for chunk in chunks:
        if len(chunk) > room:
            yield piece
            piece, size = [], min(2 * size, PIECE)
            room = size
        piece.append(chunk)
        room -= len(chunk)
    yield piece
