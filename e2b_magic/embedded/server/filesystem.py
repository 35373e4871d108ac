"""E2B's filesystem service: what is at a path in a sandbox, and the operations that need no content.

Every path is resolved inside the sandbox; here the answers are only put into E2B's words. Watching directories is
not there yet, and says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from e2b.envd.filesystem import filesystem_connect
from e2b.envd.filesystem.filesystem_pb import (
    CreateWatcherRequest,
    CreateWatcherResponse,
    EntryInfo,
    FileType,
    GetWatcherEventsRequest,
    GetWatcherEventsResponse,
    ListDirRequest,
    ListDirResponse,
    MakeDirRequest,
    MakeDirResponse,
    MoveRequest,
    MoveResponse,
    RemoveRequest,
    RemoveResponse,
    RemoveWatcherRequest,
    RemoveWatcherResponse,
    StatRequest,
    StatResponse,
    WatchDirRequest,
    WatchDirResponse,
)
from protobuf.wkt import Timestamp

from e2b_magic.embedded.sandbox.sandbox import Entry, Sandbox
from e2b_magic.embedded.server.callers import user_of
from e2b_magic.embedded.server.protocol_errors import as_connect_errors
from e2b_magic.embedded.server.text import readable

Context = RequestContext[Any, Any]

_TYPES = {"file": FileType.FILE, "directory": FileType.DIRECTORY}


def entry_info(entry: Entry) -> EntryInfo:
    """Gives what E2B's clients are told of a file or directory."""
    info = EntryInfo(
        name=readable(entry.name),
        type=_TYPES.get(entry.type, FileType.UNSPECIFIED),
        path=readable(entry.path),
        size=entry.size,
        mode=entry.mode,
        permissions=readable(entry.permissions),
        owner=readable(entry.owner),
        group=readable(entry.group),
        modified_time=Timestamp.from_datetime(datetime.fromtimestamp(entry.modified_time, UTC)),
        metadata={readable(name): readable(value) for name, value in entry.metadata.items()},
    )
    if entry.symlink_target is not None:
        info.symlink_target = readable(entry.symlink_target)
    return info


def _unwatchable() -> ConnectError:
    return ConnectError(Code.UNIMPLEMENTED, "the embedded server cannot watch directories yet: list them instead")


class FilesystemService(filesystem_connect.Filesystem):
    """The filesystem service of one sandbox.

    Args:
        contained: The sandbox.
    """

    def __init__(self, contained: Sandbox) -> None:
        self._contained = contained

    async def stat(self, request: StatRequest, ctx: Context, /) -> StatResponse:
        """Tells what is at a path."""
        with as_connect_errors():
            return StatResponse(entry=entry_info(await self._contained.stat(request.path, user_of(ctx))))

    async def make_dir(self, request: MakeDirRequest, ctx: Context, /) -> MakeDirResponse:
        """Makes a directory and those above it."""
        with as_connect_errors():
            return MakeDirResponse(entry=entry_info(await self._contained.make_directory(request.path, user_of(ctx))))

    async def move(self, request: MoveRequest, ctx: Context, /) -> MoveResponse:
        """Renames a file or directory."""
        with as_connect_errors():
            entry = await self._contained.move(request.source, request.destination, user_of(ctx))
        return MoveResponse(entry=entry_info(entry))

    async def list_dir(self, request: ListDirRequest, ctx: Context, /) -> ListDirResponse:
        """Lists a directory, `depth` levels of it; 0 means 1, as in E2B's own server."""
        with as_connect_errors():
            entries = await self._contained.list_directory(request.path, user_of(ctx), request.depth or 1)
        return ListDirResponse(entries=[entry_info(entry) for entry in entries])

    async def remove(self, request: RemoveRequest, ctx: Context, /) -> RemoveResponse:
        """Removes a file, or a directory with all that is in it."""
        with as_connect_errors():
            await self._contained.remove(request.path, user_of(ctx))
        return RemoveResponse()

    async def watch_dir(self, request: WatchDirRequest, ctx: Context, /) -> AsyncIterator[WatchDirResponse]:
        """Refuses: directories cannot be watched yet."""
        raise _unwatchable()
        yield WatchDirResponse()  # pragma: no cover  # makes this the generator that the service must be

    async def create_watcher(self, request: CreateWatcherRequest, ctx: Context, /) -> CreateWatcherResponse:
        """Refuses: directories cannot be watched yet."""
        raise _unwatchable()

    async def get_watcher_events(self, request: GetWatcherEventsRequest, ctx: Context, /) -> GetWatcherEventsResponse:
        """Refuses: directories cannot be watched yet."""
        raise _unwatchable()

    async def remove_watcher(self, request: RemoveWatcherRequest, ctx: Context, /) -> RemoveWatcherResponse:
        """Refuses: directories cannot be watched yet."""
        raise _unwatchable()
