"""Requests on files and directories in a project's sandbox."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.worker.requests.base import Request, check_text


@dataclass(frozen=True, slots=True, kw_only=True)
class OnPath(Request):
    """What a request on one path carries.

    Attributes:
        path: Absolute, or relative to the user's home; `~` is understood.
        user: Who reads or writes it inside the sandbox; the template's user when None.
    """

    path: str
    user: str | None = None

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        if not self.path:
            raise InvalidRequestError("The path is empty: name a file in the sandbox")
        check_text("The path", self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteFile(OnPath):
    """Write a file, making the directories above it.

    Attributes:
        content: The file's new content, in `encoding`.
        encoding: `utf-8` for text, `base64` for any bytes.
        append: Add to the file's end instead of replacing it.
        mode: Permission bits to set, such as 0o755; left as they are when None.
    """

    type: ClassVar[str] = "write_file"
    content: str = field(repr=False)
    encoding: Literal["utf-8", "base64"] = "utf-8"
    append: bool = False
    mode: int | None = None

    def __post_init__(self) -> None:
        OnPath.__post_init__(self)
        if self.encoding == "utf-8":
            check_text("The content", self.content, nul=True)
        if self.mode is not None and not 0 <= self.mode <= 0o7777:
            raise InvalidRequestError(f"mode must lie between 0 and 0o7777, not {self.mode!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFile(OnPath):
    """Read a file; the answer's `content` is base64.

    Attributes:
        limit: The largest file to read, in bytes.
    """

    type: ClassVar[str] = "read_file"
    repeatable: ClassVar[bool] = True
    limit: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFiles(OnPath):
    """List a directory; the answer's `entries` are mappings of `FileEntry`."""

    type: ClassVar[str] = "list_files"
    repeatable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PeekDirectory(OnPath):
    """List a directory if there is a sandbox that runs; the answer's `entries` are empty where there is none."""

    type: ClassVar[str] = "peek_directory"
    repeatable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFile(OnPath):
    """Remove a file, or a directory with all in it when `recursive`."""

    type: ClassVar[str] = "remove_file"
    recursive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _ToPath(OnPath):
    """What a request from one path to another carries.

    Attributes:
        to: The other path; in a directory that stands there the name is kept, as `mv` and `cp` do it.
    """

    to: str

    def __post_init__(self) -> None:
        OnPath.__post_init__(self)
        if not self.to:
            raise InvalidRequestError("The second path is empty: name where it is to be")
        check_text("The second path", self.to)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameFile(_ToPath):
    """Move a file or directory."""

    type: ClassVar[str] = "rename_file"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyFile(_ToPath):
    """Copy a file, or a directory with all in it when `recursive`; modes, times and links are kept."""

    type: ClassVar[str] = "copy_file"
    recursive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeDirectory(OnPath):
    """Make a directory and those above it; one that is there already is fine."""

    type: ClassVar[str] = "make_directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class FindFiles(OnPath):
    """List what lies below a directory; the answer's `entries` are mappings of `FileEntry`, by path.

    Attributes:
        name: A pattern that the name must match, as the shell has them: `*.py`.
        kind: `file` or `dir`, when only those are wanted.
        depth: How many levels down to look; all of them when None.
        limit: How many entries to give; the answer's `more` says whether there are others.
    """

    type: ClassVar[str] = "find_files"
    repeatable: ClassVar[bool] = True
    name: str = "*"
    kind: Literal["", "file", "dir"] = ""
    depth: int | None = None
    limit: int = 10_000

    def __post_init__(self) -> None:
        OnPath.__post_init__(self)
        check_text("The pattern", self.name)
        if self.depth is not None and self.depth < 1:
            raise InvalidRequestError(f"depth must be 1 or more, not {self.depth!r}")
        if not 1 <= self.limit <= 100_000:
            raise InvalidRequestError(f"limit must lie between 1 and 100,000, not {self.limit!r}")
