"""Reading a tar archive that comes in pieces, from its beginning to its end, without ever going back.

tarfile would do, but for its speed: of ten thousand small files it takes longer over the headers than the disk over the
files. Read here is what GNU tar writes when it is told `--format=gnu`: all else is damage, and so is a number or a name
that cannot be meant.
"""

from __future__ import annotations

import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

_BLOCK: Final = tarfile.BLOCKSIZE
# Name, mode, size, time, checksum, kind, link, magic, and what stands there in POSIX's own format.
_HEADER: Final = struct.Struct("100s8s16x12s12s8sc100s6s82x155s12x")
_POSIX: Final = b"ustar\0"
_KINDS: Final = {tarfile.AREGTYPE: tarfile.REGTYPE}
_LONG_NAME: Final = {tarfile.GNUTYPE_LONGNAME: "name", tarfile.GNUTYPE_LONGLINK: "target"}
_LONGEST_NAME: Final = 64 * 1024
"""Bytes of a name or a link's target: far more than any file system takes."""
_LARGEST: Final = 1 << 62
_PADDING: Final = 64 * 1024
"""Bytes that may follow an archive's end: tar fills its last record, which has as many."""
_EMPTY: Final = frozenset((b"1", b"2", b"3", b"4", b"5", b"6"))
"""The kinds that have no content, whatever their size says: links, devices, directories, pipes."""
_ADLER: Final = 65521
_FOREIGN: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_SPARSE)


class DamagedArchiveError(Exception):
    """What comes is no archive, or ends before its end."""


@dataclass(slots=True)
class Member:
    """Something in an archive.

    Attributes:
        name: Its path, as the archive has it.
        kind: tarfile's constant for what it is, such as `tarfile.REGTYPE`.
        size: Bytes of its content.
        mode: Its permission bits, and those above them.
        modified: Seconds since the epoch.
        target: Where a link leads.
    """

    name: str
    kind: bytes
    size: int
    mode: int
    modified: int
    target: str


class Archive:
    """An archive that comes in pieces.

    Args:
        pieces: What comes, cut anywhere.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._piece = memoryview(b"")
        self._taken = 0
        self._unread = 0

    def members(self) -> Iterator[Member]:
        """Gives what is in it, one after the other; what of a member's content was not read is passed over.

        Raises:
            DamagedArchiveError: It is damaged, or ends early.
        """
        long: dict[str, str] = {}
        while (member := self._header()) is not None:
            if (field := _LONG_NAME.get(member.kind)) is not None:
                long[field] = self._long_name(member.size)
                continue
            if long:
                member.name, member.target = long.get("name", member.name), long.get("target", member.target)
                long.clear()
            self._unread = member.size
            yield member
            if self._unread:
                for _ in self.content():
                    pass
            if padding := -member.size % _BLOCK:
                self._take(padding)
        self._end()

    def _end(self) -> None:
        """Takes what follows the end: only then does whoever sends it say whether all was well."""
        left = _PADDING
        for piece in self._pieces:
            left -= len(piece)
            if left < 0:
                raise DamagedArchiveError("it goes on after its end")

    def content(self) -> Iterator[memoryview]:
        """Gives the content of the member that was given last, in pieces that are good until the next one."""
        while self._unread:
            part = self._some(self._unread)
            self._unread -= len(part)
            yield part

    def _some(self, most: int) -> memoryview:
        while self._taken == len(self._piece):
            try:
                self._piece, self._taken = memoryview(next(self._pieces)), 0
            except StopIteration:
                raise DamagedArchiveError("it ends early") from None
        part = self._piece[self._taken : self._taken + most]
        self._taken += len(part)
        return part

    def _take(self, count: int) -> bytes:
        taken = bytearray()
        while len(taken) < count:
            taken += self._some(count - len(taken))
        return bytes(taken)

    def _block(self) -> memoryview:
        part = self._some(_BLOCK)
        return part if len(part) == _BLOCK else memoryview(bytes(part) + self._take(_BLOCK - len(part)))

    def _long_name(self, size: int) -> str:
        if size > _LONGEST_NAME:
            raise DamagedArchiveError("a name is too long")
        return _text(self._take(size + -size % _BLOCK)[:size])

    def _header(self) -> Member | None:
        block = self._block()
        if not block[0] and not any(block):
            return None
        name, mode, size, modified, checksum, kind, target, magic, prefix = _HEADER.unpack(block)
        try:
            if not _is_sum(_number(checksum), block, checksum):
                raise DamagedArchiveError("a sum is wrong")
            mode, size, modified = _number(mode), _number(size), _number(modified)
        except ValueError:
            raise DamagedArchiveError("a number cannot be read") from None
        if kind in _FOREIGN:
            raise DamagedArchiveError("it is not of GNU's format")
        if not (0 <= size < _LARGEST and -_LARGEST < modified < _LARGEST):
            raise DamagedArchiveError("a number cannot be meant")
        path = _text(name)
        if magic == _POSIX and prefix[0]:  # where POSIX has room for the beginning of a long name
            path = f"{_text(prefix)}/{path}"
        if kind in _EMPTY:
            size = 0
        return Member(path, _KINDS.get(kind, kind), size, mode, modified, _text(target) if target[0] else "")


def _is_sum(told: int, block: memoryview, field: bytes) -> bool:
    """Whether a number is the sum of a header's bytes, its own field counted as blanks."""
    # Adler-32's lower half is 1 and that sum, modulo a number beyond that of any header that can be meant; and in C.
    return zlib.adler32(block) & 0xFFFF == (1 + told + sum(field) - len(field) * ord(" ")) % _ADLER


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _number(field: bytes) -> int:
    if field[0] in (0x80, 0xFF):  # GNU's way to write what has too many digits: a number of two's complement
        return int.from_bytes(field[1:], "big") - (256 ** (len(field) - 1) if field[0] == 0xFF else 0)
    return int(field.rstrip(b"\0 ") or b"0", 8)
