"""Trees on their way into a sandbox and out of it, as archives in parts; see `tar_script`.

A directory that is not there yet appears when it is whole. Into one that is there, nothing is unpacked before all has
come: an upload that breaks off before leaves what was there, one that breaks off while tar is at work some files new.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from concurrent.futures import Future
from typing import Final

from e2b import Sandbox

from e2b_magic.sandboxes.files import quoted, shell
from e2b_magic.sandboxes.finishing import finishing
from e2b_magic.sandboxes.lease import Lease
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.sandboxes.sdk_errors import translating
from e2b_magic.sandboxes.tar_script import TarScript, pack_script, unpack_scripts
from e2b_magic.sandboxes.threads import in_own_thread
from e2b_magic.sandboxes.transfer import AHEAD, Download, Upload
from e2b_magic.worker.requests.transfers import OpenDownload, OpenUpload

_DIGITS: Final = 19
"""More than any number of bytes has."""
_SMALL: Final = 3
"""How many parts of an upload hold one piece, so that the first ones can be unpacked soon."""
_PIECES: Final = 2
"""How many pieces each part after those holds: it costs a process and two requests."""
_WRITING: Final = 0.5
"""How long to wait for the part under way when a transfer breaks off, in seconds."""


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
        self._written = 0
        self._begin()

    async def _hear(self, _text: str) -> None:
        self._ready.set()

    async def _write(self) -> None:
        await self._unpacking.hears(self._ready.wait())
        with translating():
            sandbox = await self.lease.in_threads()
            await in_own_thread(lambda: self._write_parts(sandbox))

    def _write_parts(self, sandbox: Sandbox) -> None:
        pieces, told = self._sent(), Future[None]()
        told.set_result(None)
        for first in pieces:
            more = itertools.islice(pieces, 0 if self._written < _SMALL else _PIECES - 1)
            part = self._chunks(itertools.chain([first], more))
            sandbox.files.write(f"{self._parts}/{self._written}", part, user=self.request.user)
            told.result()
            if self._stopped:
                return
            self._written += 1
            # Also while nothing may be unpacked yet, so that the script hears that somebody is there.
            telling = self._unpacking.tell(f"{self._written if self._new else 0}\n")
            told = asyncio.run_coroutine_threadsafe(telling, self._loop)
        told.result()

    async def send(self, piece: list[bytes]) -> None:
        """See `Upload.send`."""
        self._unpacking.check()
        await super().send(piece)

    async def _land(self) -> None:
        await self._unpacking.tell(f"{self._written} end\n")
        await asyncio.shield(self._unpacking.ended)  # who is cancelled here stops it, and waits for its end

    async def _clear_away(self) -> None:
        self._give_up()
        # What is cancelled might be written by the server all the same, and be left behind.
        await asyncio.wait([self._writing], timeout=_WRITING)
        self._writing.cancel()
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
