"""What lies in a directory of a sandbox, all the way down."""

from __future__ import annotations

import base64
from typing import Any

from e2b import FileType

from e2b_magic.records import TreeEntry
from e2b_magic.sandboxes.files import leased, quoted, shell
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.worker.protocol import Emit
from e2b_magic.worker.requests.transfers import ListTree

# One line a file with what a sandbox's file system says of it; NUL and base64, since a name may hold anything else.
_FIND = r"""cd -- {path} && find . -mindepth 1 -printf '%y\0%s\0%T@\0%m\0%P\0%l\0' | base64 -w0"""
_SUMS = r"""cd -- {path} && find . -type f -print0 | xargs -0r sha256sum -z -- | base64 -w0"""


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
    # As Python stands in for what is not UTF-8, so that a name is the one that it has here, and finds its file again.
    return base64.b64decode(text).decode("utf-8", "surrogateescape").split("\0")[:-1]


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
