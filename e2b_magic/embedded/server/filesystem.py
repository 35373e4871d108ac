"""E2B's filesystem service: what is at a path in a sandbox, and the operations that need no content.

Every path is resolved inside the sandbox; here the answers are only put into E2B's words. Directories are watched in
two ways: by a stream of events, which ends the watch, or by a watcher that is asked for them and lives until it is
removed.
"""

from __future__ import annotations

import reprlib
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Literal

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from e2b.envd.filesystem import filesystem_connect
from e2b.envd.filesystem.filesystem_pb import (
    CreateWatcherRequest,
    CreateWatcherResponse,
    EntryInfo,
    EventType,
    FilesystemEvent,
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
from protobuf import Oneof
from protobuf.wkt import Timestamp

from e2b_magic.embedded.sandbox.sandbox import Entry, FileEvent, Sandbox, Watch
from e2b_magic.embedded.server.callers import keepalive_of, timeout_of, user_of
from e2b_magic.embedded.server.following import follow
from e2b_magic.embedded.server.protocol_errors import as_connect_errors
from e2b_magic.embedded.server.text import readable

Context = RequestContext[Any, Any]

_TYPES = {"file": FileType.FILE, "directory": FileType.DIRECTORY}
_EVENT_TYPES = {
    "create": EventType.CREATE,
    "write": EventType.WRITE,
    "remove": EventType.REMOVE,
    "rename": EventType.RENAME,
    "chmod": EventType.CHMOD,
}
_STARTED = Oneof[Literal["start"], WatchDirResponse.StartEvent]("start", WatchDirResponse.StartEvent())
_KEEPALIVE = Oneof[Literal["keepalive"], WatchDirResponse.KeepAlive]("keepalive", WatchDirResponse.KeepAlive())


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


def _told(event: FileEvent) -> Oneof[Literal["filesystem"], FilesystemEvent]:
    return Oneof("filesystem", _filesystem_event(event))


def _filesystem_event(event: FileEvent) -> FilesystemEvent:
    told = FilesystemEvent(name=readable(event.name), type=_EVENT_TYPES[event.type])
    if event.entry is not None:
        told.entry = entry_info(event.entry)
    return told


class FilesystemService(filesystem_connect.Filesystem):
    """The filesystem service of one sandbox.

    Args:
        contained: The sandbox.
    """

    def __init__(self, contained: Sandbox) -> None:
        self._contained = contained
        self._watchers: dict[str, Watch] = {}

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
        """Watches a directory, and streams what happens in it until the client leaves or the call's timeout is over."""
        watch = await self._watch(request, user_of(ctx))
        try:
            yield WatchDirResponse(event=_STARTED)
            with as_connect_errors():
                async for event in follow(watch, keepalive_of(ctx), timeout_of(ctx)):
                    yield WatchDirResponse(event=_KEEPALIVE if event is None else _told(event))
        finally:
            watch.close()

    async def create_watcher(self, request: CreateWatcherRequest, ctx: Context, /) -> CreateWatcherResponse:
        """Watches a directory until the watcher is removed."""
        watch = await self._watch(request, user_of(ctx))
        watcher_id = secrets.token_hex(8)
        self._watchers[watcher_id] = watch
        return CreateWatcherResponse(watcher_id=watcher_id)

    async def get_watcher_events(self, request: GetWatcherEventsRequest, ctx: Context, /) -> GetWatcherEventsResponse:
        """Tells what has happened since the last call, or since the watcher was made."""
        with as_connect_errors():
            events = await self._watcher(request.watcher_id).events(wait=False)
        return GetWatcherEventsResponse(events=[_filesystem_event(event) for event in events])

    async def remove_watcher(self, request: RemoveWatcherRequest, ctx: Context, /) -> RemoveWatcherResponse:
        """Ends a watcher."""
        watch = self._watcher(request.watcher_id)
        del self._watchers[request.watcher_id]
        with as_connect_errors():
            await watch.remove()
        return RemoveWatcherResponse()

    async def _watch(self, request: WatchDirRequest | CreateWatcherRequest, user: str) -> Watch:
        # `allow_network_mounts` lifts a restriction that is not made here: a sandbox has no such mounts.
        with as_connect_errors():
            return await self._contained.watch(
                request.path, user, recursive=request.recursive, include_entry=request.include_entry
            )

    def _watcher(self, watcher_id: str) -> Watch:
        try:
            return self._watchers[watcher_id]
        except KeyError:
            raise ConnectError(Code.NOT_FOUND, f"watcher with id {reprlib.repr(watcher_id)} not found") from None
