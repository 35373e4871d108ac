"""Files of any size and whole trees, into a sandbox and out of it, with a few pieces in memory at a time.

What is uploaded goes to a file beside its place, or in `/tmp` for an archive, and takes its place when it is whole:
who reads meanwhile sees the old file, and an upload that breaks off leaves nothing. A transfer belongs to its manager,
under an id that the client names with each piece; one that nobody asks for any more is discarded.
"""

from __future__ import annotations

import asyncio
import base64
import posixpath
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from e2b import FileType
from e2b.exceptions import FileNotFoundException

from e2b_magic.exceptions import (
    BackendError,
    E2BMagicError,
    FileError,
    InvalidRequestError,
    RemotePathError,
    SandboxGoneError,
)
from e2b_magic.records import TreeEntry
from e2b_magic.sandboxes.files import entry_of, leased, quoted, shell
from e2b_magic.sandboxes.lease import Lease
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.sandboxes.sdk_errors import translating
from e2b_magic.worker.protocol import Emit
from e2b_magic.worker.requests.transfers import (
    PIECE,
    CloseTransfer,
    ListTree,
    OpenDownload,
    OpenUpload,
    ReceivePiece,
    SendPiece,
)

_AHEAD = 2
"""How many pieces may wait for the other side."""
PATIENCE = 300
"""How long a transfer waits for its client's next piece, in seconds, before it is discarded."""

# One line a file with what a sandbox's file system says of it; NUL and base64, since a name may hold anything else.
_FIND = r"""cd -- {path} && find . -mindepth 1 -printf '%y\0%s\0%T@\0%m\0%P\0%l\0' | base64 -w0"""
_SUMS = r"""cd -- {path} && find . -type f -print0 | xargs -0r sha256sum -z -- | base64 -w0"""


class Transfer:
    """A transfer under way.

    Args:
        manager: Whose it is.
        lease: The sandbox it goes to, or comes from.
        request: What opened it.
        part: The file in the sandbox that holds what is not yet whole; empty when there is none.
    """

    def __init__(self, manager: SandboxManager, lease: Lease, request: OpenUpload | OpenDownload, part: str) -> None:
        if request.transfer in manager.kept:
            raise InvalidRequestError(f"There is a transfer {request.transfer} already: choose another id")
        self.id = request.transfer
        self.lease = lease
        self.request = request
        self.part = part
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)
        self.task: asyncio.Task[None] | None = None
        self._manager = manager
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(PATIENCE, self._abandon)
        self._abandoning: asyncio.Task[None] | None = None
        manager.kept[self.id] = self

    def begin(self, work: Any) -> None:
        """Starts what takes the pieces to the sandbox, or brings them."""
        self.task = asyncio.create_task(work)

    def touch(self) -> None:
        """Waits for the client's next piece from now on."""
        self._timer.cancel()
        self._timer = self._loop.call_later(PATIENCE, self._abandon)

    def _abandon(self) -> None:
        self._abandoning = asyncio.create_task(self.close())

    async def put(self, piece: bytes | None) -> None:
        """Hands a piece over, or the end; raises what ended the transfer's work, should it have failed."""
        assert self.task is not None  # noqa: S101  it was begun when it was opened
        putting = asyncio.create_task(self.pieces.put(piece))
        try:
            await asyncio.wait([putting, self.task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            putting.cancel()
        if self.task.done():
            self.task.result()

    async def take(self) -> bytes | None:
        """Gives the next piece, None at the end; raises what ended the transfer's work, should it have failed."""
        assert self.task is not None  # noqa: S101  as in `put`
        if self.pieces.empty() and not self.task.done():
            taking = asyncio.create_task(self.pieces.get())
            try:
                await asyncio.wait([taking, self.task], return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not taking.done():
                    taking.cancel()
            if taking.done() and not taking.cancelled():
                return taking.result()
        if self.pieces.empty():
            self.task.result()
            return None
        return self.pieces.get_nowait()

    def forget(self) -> None:
        """Lets go of the id."""
        self._timer.cancel()
        self._manager.kept.pop(self.id, None)

    async def close(self) -> None:
        """Ends the transfer and leaves nothing of it in the sandbox."""
        self.forget()
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
        if self.part:
            with suppress(E2BMagicError), translating():  # the sandbox may be gone, and its files with it
                await self.lease.sandbox.files.remove(self.part, user=self.request.user)


async def list_tree(manager: SandboxManager, request: ListTree, emit: Emit) -> dict[str, Any]:
    """Gives the entries of a tree, and the `path` that it was found at.

    Raises:
        RemoteFileNotFoundError: There is nothing at the path.
    """
    async with leased(manager, request, emit) as lease:
        info = await lease.sandbox.files.get_info(request.path, user=request.user)
        if info.type is not FileType.DIR:
            one = TreeEntry(name="", type="file", size=info.size, modified_at=info.modified_time.timestamp())
            return {"path": info.path, "type": "file", "entries": [one.to_json()]}
        path = quoted(info.path)
        fields = await shell(lease.sandbox, request, _FIND.format(path=path))
        sums = _sums(await shell(lease.sandbox, request, _SUMS.format(path=path))) if request.checksums else {}
        entries = [entry.to_json() for entry in _entries(fields, sums)]
    return {"path": info.path, "type": "dir", "entries": entries}


def _fields(text: str) -> list[str]:
    return base64.b64decode(text).decode("utf-8", "replace").split("\0")[:-1]


def _sums(text: str) -> dict[str, str]:
    """Gives the sums by their files' names: each record of sha256sum is a sum, two characters and `./NAME`."""
    return {record[68:]: record[:64] for record in _fields(text)}


def _entries(text: str, sums: dict[str, str]) -> list[TreeEntry]:
    fields = _fields(text)
    kinds = {"f": "file", "d": "dir", "l": "link"}
    return [
        TreeEntry(
            name=name,
            type=kinds.get(kind, "other"),
            size=int(size),
            modified_at=float(modified),
            mode=int(mode, 8),
            target=target,
            checksum=sums.get(name, ""),
        )
        for kind, size, modified, mode, name, target in zip(*[iter(fields)] * 6, strict=True)
    ]


async def open_upload(manager: SandboxManager, request: OpenUpload, emit: Emit) -> dict[str, Any]:
    """Opens an upload, and gives the path that it goes to.

    Raises:
        RemotePathError: A directory stands where a file is to be, or the reverse.
    """
    async with leased(manager, request, emit) as lease:
        target = request.path
        with suppress(FileNotFoundException):  # then it is made
            info = await lease.sandbox.files.get_info(request.path, user=request.user)
            target = _placed(request, info.type is FileType.DIR)
        mark = uuid.uuid4().hex
        directory, name = posixpath.split(target.rstrip("/"))
        part = f"/tmp/.e2b-magic-{mark}.tar" if request.archive else posixpath.join(directory, f".{name}.{mark}")  # noqa: S108  a path inside the sandbox
        upload = Transfer(manager, lease, request, part)
        upload.begin(_upload(upload))
        return {"path": target}


def _placed(request: OpenUpload, directory: bool) -> str:
    if request.archive and not directory:
        raise RemotePathError(f"{request.path} is a file: name a directory for the tree")
    if request.archive or not directory:
        return request.path
    if not request.name:
        raise RemotePathError(f"{request.path} is a directory: name a file in it to write")
    return posixpath.join(request.path, request.name)


async def _upload(upload: Transfer) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        while (piece := await upload.pieces.get()) is not None:
            yield piece

    try:
        with translating():
            await upload.lease.sandbox.files.write(upload.part, pieces(), user=upload.request.user)
    except E2BMagicError as error:
        # The server speaks of the part, which means nothing to who asked; what it refuses so is a matter of the file.
        kind = FileError if type(error) is BackendError else type(error)
        raise kind(str(error).replace(upload.part, upload.request.path)) from None


async def open_download(manager: SandboxManager, request: OpenDownload, emit: Emit) -> dict[str, Any]:
    """Opens a download, and gives the path that it comes from.

    Raises:
        RemoteFileNotFoundError: There is nothing at the path.
        RemotePathError: A directory stands there, or a file where a tree is asked for.
    """
    async with leased(manager, request, emit) as lease:
        info = await lease.sandbox.files.get_info(request.path, user=request.user)
        if (info.type is FileType.DIR) is not request.archive:
            raise RemotePathError(f"{request.path} is a {'file' if request.archive else 'directory'}")
        part = f"/tmp/.e2b-magic-{uuid.uuid4().hex}.tar" if request.archive else ""  # noqa: S108  a path inside the sandbox
        download = Transfer(manager, lease, request, part)
        download.begin(_download(download))
        return {"path": info.path}


async def _download(download: Transfer) -> None:
    sandbox, request = download.lease.sandbox, download.request
    if download.part:
        await _pack(download)
    with translating():
        stream = await sandbox.files.read(download.part or request.path, format="stream", user=request.user)
        async with stream:
            waiting, length = [], 0
            async for chunk in stream:
                waiting.append(chunk)
                length += len(chunk)
                # Gathered, since a request for each of the SDK's chunks of 64 KiB would cost more than the chunk.
                if length >= PIECE // 4:
                    await download.pieces.put(b"".join(waiting))
                    waiting, length = [], 0
            if waiting:
                await download.pieces.put(b"".join(waiting))


async def _pack(download: Transfer) -> None:
    """Makes the archive of a tree inside the sandbox."""
    sandbox, request, part = download.lease.sandbox, download.request, download.part
    names = request.names if isinstance(request, OpenDownload) else []
    what = "."
    if names:
        with translating():
            await sandbox.files.write(f"{part}.names", "".join(f"./{name}\0" for name in names), user=request.user)
        what = f"--null --no-recursion --verbatim-files-from -T {part}.names"
    command = f"trap 'rm -f {part}.names' EXIT; tar --hard-dereference -C {quoted(request.path)} -cf {part} {what}"
    await shell(sandbox, request, command)


def _find(manager: SandboxManager, transfer_id: str, kind: type[OpenUpload | OpenDownload]) -> Transfer:
    found = manager.kept.get(transfer_id)
    if not isinstance(found, Transfer) or not isinstance(found.request, kind):
        raise InvalidRequestError("There is no such transfer: it has ended, or was left alone for too long; begin anew")
    return found


async def send_piece(manager: SandboxManager, request: SendPiece, emit: Emit) -> dict[str, Any]:
    """Takes a piece of an upload."""
    upload = _find(manager, request.transfer, OpenUpload)
    await _keep_alive(manager, request, upload, emit)
    await upload.put(request.content)
    return {}


async def receive_piece(manager: SandboxManager, request: ReceivePiece, emit: Emit) -> dict[str, Any]:
    """Gives the next piece of a download; an empty one at its end."""
    download = _find(manager, request.transfer, OpenDownload)
    await _keep_alive(manager, request, download, emit)
    return {"content": await download.take() or b""}


async def _keep_alive(
    manager: SandboxManager, request: SendPiece | ReceivePiece, transfer: Transfer, emit: Emit
) -> None:
    """Uses the sandbox, so that a long transfer does not outlive it, and sees whether it is still the same."""
    transfer.touch()
    if await manager.lease(request, emit) is not transfer.lease:
        await transfer.close()
        raise SandboxGoneError("The sandbox ended during the transfer; its files are lost: begin anew")


async def close_transfer(manager: SandboxManager, request: CloseTransfer, emit: Emit) -> dict[str, Any]:
    """Ends a transfer; an upload takes its place now, and its entry is given."""
    transfer = manager.kept.get(request.transfer)
    if not isinstance(transfer, Transfer) or request.discard or isinstance(transfer.request, OpenDownload):
        if isinstance(transfer, Transfer):
            await transfer.close()
        return {}
    try:
        await transfer.put(None)
        if transfer.task is not None:
            await transfer.task
        return await _place(transfer, transfer.request)
    finally:
        await transfer.close()


async def _place(upload: Transfer, request: OpenUpload) -> dict[str, Any]:
    sandbox, part = upload.lease.sandbox, upload.part
    if request.archive:
        target = request.path
        command = f"mkdir -p -- {quoted(target)} && tar -C {quoted(target)} --no-same-owner -xpf {part}"
    else:
        directory, hidden = posixpath.split(part)
        target = posixpath.join(directory, hidden[1:].rpartition(".")[0])
        mode = "" if request.mode is None else f"chmod -- {request.mode:o} {quoted(part)} && "
        command = f"{mode}mv -fT -- {quoted(part)} {quoted(target)}"
    await shell(sandbox, request, command)
    with translating():
        return entry_of(await sandbox.files.get_info(target, user=request.user)).to_json()
