"""Moving, copying, making and finding what lies in a sandbox, by commands of the sandbox's own.

E2B's file API has no copy and no search, and its move takes no directory as a destination. `mv`, `cp` and `find` do
what people expect of them, whatever the names hold: names are passed as quoted words, and come back ended by NUL.
"""

from __future__ import annotations

import shlex
from typing import Any

from e2b import FileType
from e2b.exceptions import FileNotFoundException

from e2b_magic.exceptions import RemoteFileNotFoundError, RemotePathError
from e2b_magic.records import FileEntry
from e2b_magic.sandboxes.files import entry_of, leased, quoted, shell
from e2b_magic.sandboxes.lease import Lease
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.worker.protocol import Emit
from e2b_magic.worker.requests.files import CopyFile, FindFiles, MakeDirectory, RenameFile

_FORMAT = r"%P\0%p\0%y\0%s\0%M\0%u\0%T@\0%l\0"
_FIELDS = 8


async def rename(manager: SandboxManager, request: RenameFile, emit: Emit) -> dict[str, Any]:
    """Moves a file or directory and gives its new entry.

    Raises:
        RemoteFileNotFoundError: There is nothing at the path.
        FileError: It cannot be moved there.
    """
    async with leased(manager, request, emit) as lease:
        await lease.sandbox.files.get_info(request.path, user=request.user)
        return (await _transfer(lease, request, "mv -T")).to_json()


async def copy(manager: SandboxManager, request: CopyFile, emit: Emit) -> dict[str, Any]:
    """Copies a file or directory and gives the copy's entry.

    Raises:
        RemoteFileNotFoundError: There is nothing at the path.
        RemotePathError: A directory stands there and the request is not recursive.
        FileError: It cannot be copied there.
    """
    async with leased(manager, request, emit) as lease:
        info = await lease.sandbox.files.get_info(request.path, user=request.user)
        if info.type is FileType.DIR and not request.recursive:
            raise RemotePathError(
                f"{request.path} is a directory: ask for it with all in it (recursive, or -r) to copy it"
            )
        return (await _transfer(lease, request, "cp -aT")).to_json()


async def _transfer(lease: Lease, request: RenameFile | CopyFile, program: str) -> FileEntry:
    """Moves or copies to a path, or, when a directory stands there, into it, and gives the entry that it is now."""
    to = quoted(request.to)
    inside = f"{quoted(request.to.rstrip('/'))}/{shlex.quote(request.path.rstrip('/').rpartition('/')[2])}"
    into = "" if request.to.endswith("/") else '[ -d "$to" ] && '
    command = f'mkdir -p -- "$(dirname -- "$to")" && {program} -- {quoted(request.path)} "$to" && printf %s "$to"'
    there = await shell(lease.sandbox, request, f"to={to}; {into}to={inside}; {command}")
    return entry_of(await lease.sandbox.files.get_info(there, user=request.user))


async def make_directory(manager: SandboxManager, request: MakeDirectory, emit: Emit) -> dict[str, Any]:
    """Makes a directory and gives its entry.

    Raises:
        RemotePathError: A file stands there.
    """
    async with leased(manager, request, emit) as lease:
        try:
            info = await lease.sandbox.files.get_info(request.path, user=request.user)
        except FileNotFoundException:
            await lease.sandbox.files.make_dir(request.path, user=request.user)
            info = await lease.sandbox.files.get_info(request.path, user=request.user)
        if info.type is not FileType.DIR:
            raise RemotePathError(f"{request.path} is a file: choose another name for the directory")
        return entry_of(info).to_json()


async def find(manager: SandboxManager, request: FindFiles, emit: Emit) -> dict[str, Any]:
    """Gives the entries below a directory, by path, and whether there are `more` than the request's limit.

    Raises:
        RemoteFileNotFoundError: There is nothing at the path.
        RemotePathError: A file stands there.
    """
    async with leased(manager, request, emit) as lease:
        info = await lease.sandbox.files.get_info(request.path, user=request.user)
        if info.type is not FileType.DIR:
            raise RemotePathError(f"{request.path} is a file: name the directory to look through")
        # One more than the limit shows whether there are more. Directories that may not be entered are passed over,
        # which `find` tells by its exit code alone.
        records = (request.limit + 1) * _FIELDS
        found = await shell(lease.sandbox, request, f"{_find_command(request)} 2>/dev/null | head -z -n {records}")
        entries = _entries(found)
        shown = sorted(entries[: request.limit], key=lambda one: one.path.split("/"))
        return {"entries": [one.to_json() for one in shown], "more": len(entries) > request.limit}


def _find_command(request: FindFiles) -> str:
    kinds = {"": "", "file": "! -type d ", "dir": "-type d "}
    depth = "" if request.depth is None else f"-maxdepth {request.depth} "
    pattern = "" if request.name == "*" else f"-name {shlex.quote(request.name)} "
    root = quoted(request.path.rstrip("/") or "/")
    return f"find \"$(realpath -- {root})\" -mindepth 1 {depth}{kinds[request.kind]}{pattern}-printf '{_FORMAT}'"


def _entries(told: str) -> list[FileEntry]:
    fields = told.split("\0")
    rows = [fields[start : start + _FIELDS] for start in range(0, len(fields) - 1, _FIELDS)]
    if rows and len(rows[-1]) < _FIELDS:
        raise RemoteFileNotFoundError("The directory changed while it was looked through: try again")
    return [
        FileEntry(
            name=inner.rpartition("/")[2],
            path=path,
            type="dir" if kind == "d" else "file",
            size=int(size),
            permissions=permissions,
            owner=owner,
            modified_at=float(changed),
            symlink_target=target or None,
        )
        for inner, path, kind, size, permissions, owner, changed, target in rows
    ]
