"""Reading, writing, listing and removing files in a sandbox."""

from __future__ import annotations

import base64
import shlex
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from e2b import AsyncSandbox, CommandExitException, EntryInfo, FileType, SandboxState
from e2b.exceptions import FileNotFoundException

from e2b_magic.exceptions import (
    FileError,
    FileTooLargeError,
    InvalidRequestError,
    NotEnoughSpaceError,
    RemotePathError,
    SandboxGoneError,
    SandboxUnreachableError,
)
from e2b_magic.quantities import size as in_words
from e2b_magic.records import FileEntry
from e2b_magic.sandboxes.finishing import heed_cancellation
from e2b_magic.sandboxes.lease import Lease
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.sandboxes.sdk_errors import translating
from e2b_magic.worker.protocol import Emit
from e2b_magic.worker.requests.base import Request
from e2b_magic.worker.requests.files import ListFiles, OnPath, PeekDirectory, ReadFile, RemoveFile, WriteFile

_FULL = ("No space left", "quota exceeded")
"""What programs say when there is no room, in the C library's words."""

KILLED: Final = (-1, 137)
"""The exit code of what SIGKILL has ended, from E2B and from a shell."""


def entry_of(info: EntryInfo) -> FileEntry:
    """Gives our record of what the SDK tells of a file."""
    return FileEntry(
        name=info.name,
        path=info.path,
        type=info.type.value if info.type else "file",
        size=info.size,
        permissions=info.permissions,
        owner=info.owner,
        modified_at=info.modified_time.timestamp(),
        symlink_target=info.symlink_target,
    )


@asynccontextmanager
async def leased(manager: SandboxManager, request: Request, emit: Emit) -> AsyncIterator[Lease]:
    """Gives a lease and the SDK's errors as ours; a sandbox found to be gone is forgotten."""
    lease = await manager.lease(request, emit)
    try:
        with translating():
            yield lease
    except (SandboxGoneError, SandboxUnreachableError):
        manager.forget(lease)
        raise


def _content(request: WriteFile) -> bytes:
    if request.encoding == "utf-8":
        return request.content.encode()
    try:
        return base64.b64decode(request.content, validate=True)
    except ValueError:
        raise InvalidRequestError("write_file: content is not base64, though encoding says so") from None


async def write(manager: SandboxManager, request: WriteFile, emit: Emit) -> dict[str, Any]:
    """Writes a file and gives its entry.

    Raises:
        RemotePathError: A directory stands at the path.
        NotEnoughSpaceError: The sandbox's disk is full.
    """
    content = _content(request)
    async with leased(manager, request, emit) as lease:
        files = lease.sandbox.files
        with suppress(FileNotFoundException):  # then it is made
            if (await files.get_info(request.path, user=request.user)).type is FileType.DIR:
                raise RemotePathError(f"{request.path} is a directory: name a file in it to write")
        if request.append:
            await _append(lease.sandbox, request, content)
        else:
            await files.write(request.path, content, user=request.user, request_timeout=0)
        if request.mode is not None:
            await shell(lease.sandbox, request, f"chmod -- {request.mode:o} {quoted(request.path)}")
        return entry_of(await files.get_info(request.path, user=request.user)).to_json()


async def _append(sandbox: AsyncSandbox, request: WriteFile, content: bytes) -> None:
    """Adds to a file's end: E2B only writes whole files, so the addition is uploaded and joined by a command."""
    part = f"/tmp/.e2b-magic-{uuid.uuid4().hex}"  # noqa: S108  a path inside the sandbox, and unguessable there
    await sandbox.files.write(part, content, user=request.user, request_timeout=0)
    path = quoted(request.path)
    await shell(
        sandbox, request, f"trap 'rm -f {part}' EXIT; mkdir -p -- \"$(dirname -- {path})\" && cat {part} >> {path}"
    )


def quoted(path: str) -> str:
    """Gives a path as the shell reads it: to the letter, but for a home at its beginning, and never as an option."""
    if path == "~" or path.startswith("~/"):
        return "~" + shlex.quote(path[1:]) if path[1:] else "~"
    return shlex.quote(path if path.startswith("/") else f"./{path}")


async def shell(sandbox: AsyncSandbox, request: OnPath, command: str) -> str:
    """Runs a command on a request's path and gives what it wrote; it may take as long as it does.

    Raises:
        FileError: It failed; the text is a line of the command's own.
    """
    heed_cancellation()
    try:
        with translating():
            return (await sandbox.commands.run(command, user=request.user, timeout=0)).stdout
    except CommandExitException as failed:
        raise command_error(request, failed) from None


def command_error(request: OnPath, failed: CommandExitException) -> FileError:
    """Gives the error that a command's failure on a request's path is."""
    # tar's last line says only that there were others.
    lines = [line for line in failed.stderr.strip().splitlines() if "Exiting with failure status" not in line]
    full = [line for line in lines if any(text in line for text in _FULL)]
    said = [*lines, *full][-1] if lines else f"exit code {failed.exit_code}"
    if failed.exit_code in KILLED and not full:
        said = "what did it was killed in the sandbox, whose memory or disk may be full"
    return (NotEnoughSpaceError if full else FileError)(f"{request.path}: {said}")


async def read(manager: SandboxManager, request: ReadFile, emit: Emit) -> dict[str, Any]:
    """Gives a file's entry, and its content in base64.

    Raises:
        RemoteFileNotFoundError: There is nothing at the path.
        RemotePathError: A directory stands there.
        FileTooLargeError: It is larger than the request's limit.
    """
    async with leased(manager, request, emit) as lease:
        info = await lease.sandbox.files.get_info(request.path, user=request.user)
        if info.type is FileType.DIR:
            raise RemotePathError(f"{request.path} is a directory: list it, or name a file in it")
        chunks: list[bytes] = []
        size = info.size
        if size <= request.limit:
            size = 0
            stream = await lease.sandbox.files.read(request.path, format="stream", user=request.user)
            async with stream:
                async for chunk in stream:
                    size += len(chunk)
                    if size > request.limit:
                        break
                    chunks.append(chunk)
        # A file may grow while it is read, and some (in /proc) say that they are empty: what came is what counts.
        if size > request.limit:
            raise FileTooLargeError(
                f"{request.path} has {in_words(max(size, info.size))} and read_file gives at most "
                f"{in_words(request.limit)}: read a part of it with a command such as head, or raise limit"
            )
        return {**entry_of(info).to_json(), "content": base64.b64encode(b"".join(chunks)).decode()}


async def list_directory(manager: SandboxManager, request: ListFiles, emit: Emit) -> dict[str, Any]:
    """Gives the entries of a directory, directories first, then by name.

    Raises:
        RemoteFileNotFoundError: There is nothing at the path.
        RemotePathError: A file stands there.
    """
    async with leased(manager, request, emit) as lease:
        info = await lease.sandbox.files.get_info(request.path, user=request.user)
        if info.type is not FileType.DIR:
            raise RemotePathError(f"{request.path} is a file: read it, or list its directory")
        found = [entry_of(entry) for entry in await lease.sandbox.files.list(request.path, user=request.user)]
        found.sort(key=lambda entry: (entry.type != "dir", entry.name))
        return {"entries": [entry.to_json() for entry in found]}


async def peek_directory(manager: SandboxManager, request: PeekDirectory, emit: Emit) -> dict[str, Any]:
    """Gives the entries of a directory of the sandbox that runs; none where none does, and makes or resumes none."""
    info = await manager.find(request)
    if info is None or info.state is not SandboxState.RUNNING:
        return {"entries": []}
    asked = ListFiles(
        project_id=request.project_id, template=request.template, sandbox_id=info.sandbox_id, path=request.path
    )
    return await list_directory(manager, asked, emit)


async def remove(manager: SandboxManager, request: RemoveFile, emit: Emit) -> dict[str, Any]:
    """Removes a file or directory and gives the entry that it was.

    Raises:
        RemoteFileNotFoundError: There is nothing at the path.
        RemotePathError: A directory stands there and the request is not recursive.
    """
    async with leased(manager, request, emit) as lease:
        info = await lease.sandbox.files.get_info(request.path, user=request.user)
        if info.type is FileType.DIR and not request.recursive:
            raise RemotePathError(
                f"{request.path} is a directory: ask for it with all in it (recursive, or -r) to remove it"
            )
        await lease.sandbox.files.remove(request.path, user=request.user)
        return entry_of(info).to_json()
