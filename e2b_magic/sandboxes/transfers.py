"""The requests that open, carry on and close a transfer of a file or a tree, into a sandbox or out of it.

A transfer (`transfer`, `tree_transfers`) belongs to its manager, under an id that the client names with each piece; one
that nobody asks for any more is discarded.
"""

from __future__ import annotations

import posixpath
from contextlib import suppress
from typing import Any

from e2b import FileType
from e2b.exceptions import FileNotFoundException

from e2b_magic.exceptions import InvalidRequestError, RemotePathError, SandboxGoneError
from e2b_magic.sandboxes.files import entry_of, leased
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.sandboxes.sdk_errors import translating
from e2b_magic.sandboxes.transfer import Download, FileDownload, FileUpload, Transfer, Upload
from e2b_magic.sandboxes.tree_transfers import TreeDownload, TreeUpload
from e2b_magic.worker.protocol import Emit
from e2b_magic.worker.requests.transfers import (
    CloseTransfer,
    OpenDownload,
    OpenUpload,
    ReceivePiece,
    SendPiece,
)


async def open_upload(manager: SandboxManager, request: OpenUpload, emit: Emit) -> dict[str, Any]:
    """Opens an upload, and gives the path that it goes to.

    Raises:
        RemotePathError: A directory stands where a file is to be, or the reverse.
    """
    async with leased(manager, request, emit) as lease:
        there: FileType | None = None
        with suppress(FileNotFoundException):  # then it is made
            there = (await lease.sandbox.files.get_info(request.path, user=request.user)).type
        if request.archive:
            if there not in (None, FileType.DIR):
                raise RemotePathError(f"{request.path} is a file: name a directory for the tree")
            return {"path": TreeUpload(manager, lease, request, new=there is None).target}
        return {"path": FileUpload(manager, lease, request, _placed(request, there is FileType.DIR)).target}


def _placed(request: OpenUpload, directory: bool) -> str:
    if not directory:
        return request.path
    if not request.name:
        raise RemotePathError(f"{request.path} is a directory: name a file in it to write")
    return posixpath.join(request.path, request.name)


async def open_download(manager: SandboxManager, request: OpenDownload, emit: Emit) -> dict[str, Any]:
    """Opens a download, and gives the `path` that it comes from and the `type` of what is there.

    Raises:
        RemoteFileNotFoundError: There is nothing at the path.
        RemotePathError: A file stands where a tree is asked for.
    """
    async with leased(manager, request, emit) as lease:
        info = await lease.sandbox.files.get_info(request.path, user=request.user)
        if info.type is FileType.DIR:
            await TreeDownload(manager, lease, request, info.path).pack()
            return {"path": info.path, "type": "dir"}
        if request.names:
            raise RemotePathError(f"{request.path} is a file")
        FileDownload(manager, lease, request, info.size).begin()
        return {"path": info.path, "type": "file"}


def _under_way(manager: SandboxManager, transfer: str) -> Transfer | None:
    found = manager.kept.get(transfer)
    return found if isinstance(found, Transfer) and not found.ending else None


def _no_such_transfer() -> InvalidRequestError:
    return InvalidRequestError("There is no such transfer: it has ended, or was left alone for too long; begin anew")


async def send_piece(manager: SandboxManager, request: SendPiece, emit: Emit) -> dict[str, Any]:
    """Takes a piece of an upload."""
    upload = _under_way(manager, request.transfer)
    if not isinstance(upload, Upload):
        raise _no_such_transfer()
    await _keep_alive(manager, request, upload, emit)
    await upload.send(request.content)
    return {}


async def receive_piece(manager: SandboxManager, request: ReceivePiece, emit: Emit) -> dict[str, Any]:
    """Gives the next piece of a download, an empty one at its end, and the `size` of all as far as is known."""
    download = _under_way(manager, request.transfer)
    if not isinstance(download, Download):
        raise _no_such_transfer()
    await _keep_alive(manager, request, download, emit)
    return {"content": await download.receive(), "size": download.size}


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
    if request.discard:
        if isinstance(left := manager.kept.get(request.transfer), Transfer):
            await left.close()
        return {}
    transfer = _under_way(manager, request.transfer)
    if transfer is None:
        raise _no_such_transfer()
    try:
        if not isinstance(transfer, Upload):
            return {}
        transfer.stay()
        await transfer.finish()
        with translating():
            found = await transfer.lease.sandbox.files.get_info(transfer.target, user=transfer.request.user)
        return entry_of(found).to_json()
    finally:
        await transfer.close()
