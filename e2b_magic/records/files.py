"""Files and directories, in a sandbox and in a tree that is brought there or here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from e2b_magic.records.base import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry(Record):
    """A file or directory inside a sandbox.

    Attributes:
        name: Its name.
        path: Its absolute path.
        type: `file` or `dir` (E2B's words).
        size: Bytes.
        permissions: As `ls -l` shows them.
        owner: The owner's name.
        modified_at: Seconds since the epoch.
        symlink_target: Where a symbolic link leads, or None.
    """

    name: str
    path: str
    type: str
    size: int = 0
    permissions: str = ""
    owner: str = ""
    modified_at: float = 0.0
    symlink_target: str | None = None


class Found(list[FileEntry]):
    """The entries that a search gave.

    Args:
        entries: The entries.
        more: Whether there are others, beyond the search's limit.
    """

    def __init__(self, entries: Iterable[FileEntry], *, more: bool) -> None:
        super().__init__(entries)
        self.more = more


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeEntry(Record):
    """Something in a tree of files, here or in a sandbox.

    Attributes:
        name: Its path from the tree's root, with slashes; empty for the root itself.
        type: `file`, `dir`, `link` or `other`.
        size: Bytes.
        modified_at: Seconds since the epoch.
        mode: Its permission bits.
        target: Where a link leads.
        checksum: A file's SHA-256 in hexadecimal digits, when it was asked for.
    """

    name: str
    type: str
    size: int = 0
    modified_at: float = 0.0
    mode: int = 0o644
    target: str = ""
    checksum: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferResult(Record):
    """What a transfer brought.

    Attributes:
        path: Where it is now: a path in the sandbox for what was put there, one on this machine for what was fetched.
        files: How many files it brought.
        size: Their bytes.
        duration: Seconds it took.
        removed: How many files it removed, since they are no longer on the other side.
        left_out: What was not brought, each with the reason.
    """

    path: str
    files: int
    size: int
    duration: float
    removed: int = 0
    left_out: tuple[str, ...] = ()
