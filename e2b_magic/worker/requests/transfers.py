"""Requests that carry files of any size, and whole trees, piece by piece.

A transfer is opened, its pieces are sent or received one after the other, and it is closed; to close it with
`discard` leaves everything as it was. The client asks for each piece itself, so that neither side ever holds more than
a few of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar, Final

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.worker.requests.base import Request, check_text
from e2b_magic.worker.requests.files import OnPath

_TRANSFER_ID: Final = re.compile(r"[0-9a-f]{32}")
PIECE = 4 * 1024 * 1024
"""The largest piece, in bytes: large enough that a request's own cost vanishes in it."""
CHUNK: Final = 512 * 1024
"""What the chunks of a piece have, in bytes: a processor's cache holds one while it is read, copied and sent.

The SDK's client takes sixteen of them before the network has taken the first.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTree(OnPath):
    """List all that lies in a directory, or the one file at a path; the answer's `entries` are those of `TreeEntry`.

    Attributes:
        checksums: Whether to give each file's SHA-256, which means reading it.
    """

    type: ClassVar[str] = "list_tree"
    repeatable: ClassVar[bool] = True
    checksums: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opening(OnPath):
    transfer: str

    def __post_init__(self) -> None:
        OnPath.__post_init__(self)
        if not _TRANSFER_ID.fullmatch(self.transfer):
            raise InvalidRequestError(f"{self.transfer!r} cannot name a transfer: use 32 hexadecimal digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUpload(_Opening):
    """Open an upload.

    Attributes:
        transfer: Its id, the client's choice, so that one whose answer it never heard can be discarded.
        archive: Whether the pieces are a tar archive to be unpacked in the directory `path`, which is made.
        name: What a file is called, should a directory stand at `path`.
        mode: The file's permission bits; as the sandbox makes it when None.
    """

    type: ClassVar[str] = "open_upload"
    archive: bool = False
    name: str = ""
    mode: int | None = None

    def __post_init__(self) -> None:
        _Opening.__post_init__(self)
        if "/" in self.name or self.name in (".", ".."):
            raise InvalidRequestError(f"{self.name!r} cannot name a file: leave out its directories")
        check_text("The name", self.name)
        if self.mode is not None and not 0 <= self.mode <= 0o7777:
            raise InvalidRequestError(f"mode must lie between 0 and 0o7777, not {self.mode!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDownload(_Opening):
    """Open a download; the answer's `type` is `dir` where a directory comes, as a tar archive, else `file`.

    Attributes:
        transfer: Its id, the client's choice.
        names: What to put into a directory's archive, relative to `path`; everything when empty.
    """

    type: ClassVar[str] = "open_download"
    names: list[str] = field(default_factory=list, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnTransfer(Request):
    transfer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SendPiece(_OnTransfer):
    """Send the next piece of an upload; answered as soon as there is room for another.

    Attributes:
        content: The piece, in chunks: to join them takes as long as to send them.
    """

    type: ClassVar[str] = "send_piece"
    content: list[bytes] = field(repr=False)

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        if (size := sum(map(len, self.content))) > PIECE:
            raise InvalidRequestError(f"a piece has at most {PIECE:,} bytes, not {size:,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivePiece(_OnTransfer):
    """Ask for the next piece of a download.

    The answer's `content` is a list of chunks, empty at the end; its `size` is what there is in all, as far as is known
    by then.
    """

    type: ClassVar[str] = "receive_piece"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseTransfer(_OnTransfer):
    """End a transfer; the answer to an upload's end is the entry of what was written.

    Attributes:
        discard: Leave everything as it was before.
    """

    type: ClassVar[str] = "close_transfer"
    discard: bool = False
