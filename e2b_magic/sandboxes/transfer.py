"""A transfer under way, and those of one file, with a few pieces in memory at a time.

What is uploaded goes to a file beside its place and takes its place when it is whole: who reads meanwhile sees the old
file, and an upload that breaks off leaves nothing.
"""

from __future__ import annotations

import asyncio
import posixpath
import queue
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

from e2b import Sandbox

from e2b_magic.exceptions import BackendError, E2BMagicError, FileError, InvalidRequestError
from e2b_magic.sandboxes.files import quoted, shell
from e2b_magic.sandboxes.finishing import started
from e2b_magic.sandboxes.lease import Lease
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.sandboxes.sdk_errors import translating
from e2b_magic.sandboxes.threads import in_own_thread
from e2b_magic.worker.requests.transfers import OpenDownload, OpenUpload

AHEAD: Final = 2
"""How many pieces may wait for the other side."""
_GATHERED: Final = 1024 * 1024
"""What a piece of a download has at least, in bytes.

A request for each of the SDK's chunks would cost more than the chunk; of larger pieces the memory does not serve the
next one, and to have new memory made costs more than the requests do.
"""
PATIENCE: Final = 300
"""How long a transfer waits for its client's next piece, in seconds, before it is discarded."""


class Transfer(ABC):
    """A transfer under way. It belongs to its manager, under an id that the client has chosen.

    Args:
        manager: Whose it is.
        lease: The sandbox it goes to, or comes from.
        request: What opened it.

    Raises:
        InvalidRequestError: The id is another one's.
    """

    def __init__(self, manager: SandboxManager, lease: Lease, request: OpenUpload | OpenDownload) -> None:
        if request.transfer in manager.kept:
            raise InvalidRequestError(f"There is a transfer {request.transfer} already: choose another id")
        self.id = request.transfer
        self.lease = lease
        self.request = request
        self._manager = manager
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(PATIENCE, self._abandon)
        self._ending: asyncio.Task[None] | None = None
        manager.kept[self.id] = self

    def touch(self) -> None:
        """Waits for the client's next piece from now on."""
        self._timer.cancel()
        self._timer = self._loop.call_later(PATIENCE, self._abandon)

    def stay(self) -> None:
        """Waits for the client no more: what is left to do is the transfer's own, and takes as long as it does."""
        self._timer.cancel()

    @property
    def ending(self) -> bool:
        """Whether it is being cleared away, and takes and gives nothing any more."""
        return self._ending is not None

    def _abandon(self) -> asyncio.Task[None]:
        if self._ending is None:
            self._timer.cancel()
            self._ending = started(self._end())
        return self._ending

    async def close(self) -> None:
        """Ends the transfer and leaves nothing of it in the sandbox; who closes it meanwhile waits for the same end."""
        await asyncio.shield(self._abandon())

    async def _end(self) -> None:
        try:
            with suppress(E2BMagicError), translating():  # the sandbox may be gone, and its files with it
                await self._clear_away()
        finally:
            self._manager.kept.pop(self.id, None)

    @abstractmethod
    async def _clear_away(self) -> None:
        """Ends what is under way, and removes what is not whole."""


class Upload(Transfer):
    """A transfer into the sandbox, which a thread writes there.

    Args:
        manager: Whose it is.
        lease: The sandbox.
        request: What opened it.

    Attributes:
        target: The path that it goes to.
    """

    target: str
    _writing: asyncio.Task[None]

    def __init__(self, manager: SandboxManager, lease: Lease, request: OpenUpload) -> None:
        super().__init__(manager, lease, request)
        self._pieces: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(AHEAD)
        self._stopped = False

    def _begin(self) -> None:
        """Has what is sent written; for those who inherit, at the end of their own making."""
        self._writing = started(self._write())

    @abstractmethod
    async def _write(self) -> None:
        """Writes what is sent, in a thread as `Download._stream` reads; ends when all has been written."""

    def _sent(self) -> Iterator[list[bytes]]:
        """Gives the pieces that are sent, to the thread that writes them and waits for them."""
        while (piece := self._pieces.get()) is not None:
            yield piece
            self._loop.call_soon_threadsafe(self._room.release)

    def _chunks(self, pieces: Iterable[list[bytes]]) -> Iterator[bytes]:
        """Gives what pieces hold; no more of it once the upload is given up."""
        for piece in pieces:
            for chunk in piece:
                if self._stopped:
                    return
                yield chunk

    async def send(self, piece: list[bytes]) -> None:
        """Takes a piece as soon as there is room for one; raises what ended the transfer's work, should it have."""
        waiting = asyncio.create_task(self._room.acquire())
        try:
            await asyncio.wait([waiting, self._writing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._writing.done():
            self._writing.result()
        self._pieces.put(piece)

    async def finish(self) -> None:
        """Has what was sent take its place."""
        self._pieces.put(None)
        await asyncio.shield(self._writing)
        await self._land()

    @abstractmethod
    async def _land(self) -> None:
        """Has what was written take its place."""

    def _give_up(self) -> None:
        """Has the thread write nothing more."""
        self._stopped = True
        self._pieces.put(None)


class Download(Transfer):
    """A transfer out of the sandbox, whose pieces come before they are asked for.

    Args:
        manager: Whose it is.
        lease: The sandbox.
        request: What opened it.
        size: How many bytes there are, if that is known.

    Attributes:
        size: How many bytes there are, as far as is known by now.
    """

    request: OpenDownload

    def __init__(self, manager: SandboxManager, lease: Lease, request: OpenDownload, size: int = 0) -> None:
        super().__init__(manager, lease, request)
        self.size = size
        self._pieces: asyncio.Queue[list[bytes]] = asyncio.Queue()
        self._room = threading.Semaphore(AHEAD)
        self._stopped = False
        self._failure: Exception | None = None
        self._ended = False
        self._bringing: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Has the pieces brought."""
        self._bringing = asyncio.create_task(self._bring_all())

    async def _bring_all(self) -> None:
        try:
            with translating():
                await self._bring()
        except Exception as error:  # noqa: BLE001  it is raised where the pieces are received
            self._failure = error
        self._pieces.put_nowait([])

    @abstractmethod
    async def _bring(self) -> None:
        """Brings all that there is, by `_stream`."""

    async def _stream(self, path: str) -> None:
        """Brings a file's content.

        In a thread, by the SDK's synchronous half: the other one goes to the loop and back for each chunk, and takes a
        quarter longer for all of them.
        """
        sandbox = await self.lease.in_threads()
        await in_own_thread(lambda: self._read(sandbox, path))

    def _read(self, sandbox: Sandbox, path: str) -> None:
        with sandbox.files.read(path, format="stream", user=self.request.user) as stream:
            piece, length = [], 0
            for chunk in stream:
                piece.append(chunk)
                length += len(chunk)
                if length >= _GATHERED:
                    if not self._give(piece):
                        return
                    piece, length = [], 0
            if piece:
                self._give(piece)

    def _give(self, piece: list[bytes]) -> bool:
        """Gives a piece from a thread once there is room for it, and says whether more is wanted."""
        self._room.acquire()
        if self._stopped:
            return False
        self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)
        return True

    async def receive(self) -> list[bytes]:
        """Gives the next piece, an empty one at the end; raises what ended the transfer's work, should it have.

        It comes in the chunks that the SDK gave: to join them takes as long as to write them.
        """
        piece = [] if self._ended else await self._pieces.get()
        self._room.release()
        self._ended = not piece
        if self._ended and self._failure is not None:
            raise self._failure
        return piece

    async def _clear_away(self) -> None:
        self._stopped = True
        self._room.release()
        if self._bringing is not None:
            self._bringing.cancel()
            await asyncio.wait([self._bringing])


class FileUpload(Upload):
    """A file on its way into the sandbox.

    Args:
        manager: Whose it is.
        lease: The sandbox.
        request: What opened it.
        target: The path that the file goes to.
    """

    def __init__(self, manager: SandboxManager, lease: Lease, request: OpenUpload, target: str) -> None:
        super().__init__(manager, lease, request)
        directory, name = posixpath.split(target.rstrip("/"))
        self.target = target
        self._mode = request.mode
        self._part = posixpath.join(directory, f".{name}.{uuid.uuid4().hex}")
        self._begin()

    async def _write(self) -> None:
        try:
            with translating():
                sandbox = await self.lease.in_threads()
                content = self._chunks(self._sent())
                await in_own_thread(lambda: sandbox.files.write(self._part, content, user=self.request.user))
        except E2BMagicError as error:
            # The server speaks of the part, which means nothing to who asked; what it refuses so is a matter of the
            # file.
            kind = FileError if type(error) is BackendError else type(error)
            raise kind(str(error).replace(self._part, self.request.path)) from None

    async def _land(self) -> None:
        mode = "" if self._mode is None else f"chmod -- {self._mode:o} {quoted(self._part)} && "
        command = f"{mode}mv -fT -- {quoted(self._part)} {quoted(self.target)}"
        await shell(self.lease.sandbox, self.request, command)

    async def _clear_away(self) -> None:
        self._give_up()
        await asyncio.wait([self._writing])
        await self.lease.sandbox.files.remove(self._part, user=self.request.user)


class FileDownload(Download):
    """A file on its way out of the sandbox."""

    async def _bring(self) -> None:
        await self._stream(self.request.path)
