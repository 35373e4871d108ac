"""Trees on their way into a sandbox and out of it, as archives in parts; see `tar_script`.

A directory that is not there yet appears when it is whole. Into one that is there, nothing is unpacked before all has
come: an upload that breaks off before leaves what was there, one that breaks off while tar is at work some files new.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Final

from e2b_magic.sandboxes.files import quoted, shell
from e2b_magic.sandboxes.finishing import finishing, started
from e2b_magic.sandboxes.lease import Lease
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.sandboxes.sdk_errors import translating
from e2b_magic.sandboxes.tar_script import TarScript, pack_script, unpack_scripts
from e2b_magic.sandboxes.threads import in_own_thread
from e2b_magic.sandboxes.transfer import AHEAD, Download, Upload
from e2b_magic.worker.requests.transfers import OpenDownload, OpenUpload

_DIGITS: Final = 19
"""More than any number of bytes has."""
_WRITING: Final = 0.5
"""How long to wait for the parts under way when a transfer breaks off, in seconds."""


def _parts() -> str:
    return f"/tmp/.e2b-magic-{uuid.uuid4().hex}"  # noqa: S108  a path inside the sandbox, and unguessable there


class TreeUpload(Upload):
    """A tree on its way into the sandbox.

    Args:
        manager: Whose it is.
        lease: The sandbox.
        request: What opened it.
        new: Whether there is nothing yet where it goes.
    """

    def __init__(self, manager: SandboxManager, lease: Lease, request: OpenUpload, *, new: bool) -> None:
        super().__init__(manager, lease, request)
        self.target = request.path
        self._new = new
        self._parts = _parts()
        script, self._removal = unpack_scripts(self._parts, quoted(self.target))
        self._unpacking = TarScript(lease.sandbox, request, script, self._parts, self._hear)
        self._ready = asyncio.Event()
        self._sent = 0
        self._room = asyncio.Semaphore(AHEAD)
        self._writing: list[asyncio.Task[None]] = []

    async def send(self, piece: list[bytes]) -> None:
        """See `Upload.send`."""
        await self._room.acquire()
        before = self._writing[-1:]
        for task in before:
            if task.done():
                task.result()
        self._writing = [task for task in self._writing if not task.done()]
        self._writing.append(started(self._write(self._sent, piece, before)))
        self._sent += 1

    async def _hear(self, _text: str) -> None:
        self._ready.set()

    async def _write(self, number: int, piece: list[bytes], before: list[asyncio.Task[None]]) -> None:
        try:
            await self._unpacking.hears(self._ready.wait())
            await self._write_part(f"{self._parts}/{number}", piece)
            await asyncio.gather(*before)  # the script takes them in their order
            # Also while nothing may be unpacked yet, so that the script hears that somebody is there.
            await self._unpacking.tell(f"{number + 1 if self._new else 0}\n")
        finally:
            self._room.release()

    async def _write_part(self, path: str, piece: list[bytes]) -> None:
        # In a thread, as `Download._stream` reads.
        with translating():
            sandbox = await self.lease.in_threads()
            await in_own_thread(lambda: sandbox.files.write(path, piece, user=self.request.user))

    async def finish(self) -> None:
        """See `Upload.finish`."""
        await asyncio.gather(*self._writing)
        await self._unpacking.tell(f"{self._sent} end\n")
        await asyncio.shield(self._unpacking.ended)  # who is cancelled here stops it, and waits for its end

    async def _clear_away(self) -> None:
        if self._writing:
            # What is cancelled might be written by the server all the same, and be left behind.
            await asyncio.wait(self._writing, timeout=_WRITING)
            for task in self._writing:
                task.cancel()
            await asyncio.wait(self._writing, timeout=_WRITING)
        await self._unpacking.stop()
        if not self._unpacking.well:
            # A part that was on its way when the command cleared away has made the directory again.
            await finishing(shell(self.lease.sandbox, self.request, self._removal))


class TreeDownload(Download):
    """A tree on its way out of the sandbox.

    Args:
        manager: Whose it is.
        lease: The sandbox.
        request: What opened it.
        path: Where the tree lies.
    """

    def __init__(self, manager: SandboxManager, lease: Lease, request: OpenDownload, path: str) -> None:
        super().__init__(manager, lease, request)
        self._parts = _parts()
        self._path = path
        self._packing: TarScript | None = None
        self._told = ""
        self._closed_directory = asyncio.Event()
        self._ready = asyncio.Semaphore(0)

    async def pack(self) -> None:
        """Starts the packing, and gives when there is something."""
        script = pack_script(self._parts, quoted(self._path), AHEAD, listed=bool(self.request.names))
        self._packing = TarScript(self.lease.sandbox, self.request, script, self._parts, self._hear)
        if self.request.names and await self._packing.hears(self._closed_directory.wait()):
            names = "".join(f"./{name}\0" for name in self.request.names).encode("utf-8", "surrogateescape")
            await self.lease.sandbox.files.write(f"{self._parts}/names", names, user=self.request.user)
            await self._packing.tell("\n")
        self.begin()

    async def _hear(self, text: str) -> None:
        *lines, self._told = (self._told + text).split("\n")
        for line in lines:
            count = line.partition("\t")[0]
            if line == "ready":
                self._closed_directory.set()
            elif line == "part":
                self._ready.release()
            elif count.isdecimal() and len(count) < _DIGITS:
                self.size = int(count)

    async def _bring(self) -> None:
        packing, number = self._packing, 0
        assert packing is not None  # noqa: S101  `pack` has started it
        while await packing.hears(self._ready.acquire()):
            await self._stream(f"{self._parts}/{number % AHEAD}")
            await packing.tell("\n")
            number += 1

    async def _clear_away(self) -> None:
        await super()._clear_away()
        if self._packing is not None:
            await self._packing.stop()
        if self._packing is None or not self._packing.well:
            await finishing(shell(self.lease.sandbox, self.request, f"rm -rf -- {self._parts}"))
