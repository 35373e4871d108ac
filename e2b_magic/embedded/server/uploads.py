"""Uploads to `/files`: a body, plain or multipart, compressed or not, into files of a sandbox.

The body is taken straight from its connection (`incoming`), and the client waits while the disk does, so that memory
stays flat whatever the size.
"""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Self

from starlette.requests import Request

from e2b_magic.embedded.sandbox.sandbox import Entry, Sandbox
from e2b_magic.embedded.server.blocking import in_thread
from e2b_magic.embedded.server.connections import take_body
from e2b_magic.embedded.server.multipart import PartBegin, PartData, PartReader
from e2b_magic.embedded.server.protocol_errors import ProtocolError, as_file_errors

Content = bytes | memoryview
# What is decompressed in one go, and to at most as much, in bytes.
_STEP = 256 * 1024
_METADATA_HEADER = "x-metadata-"
# Figures of E2B's envd.yaml: the longest key, and all of it with the prefix that each key is stored under.
_METADATA_KEY = 246
_METADATA_TOTAL = 4096
_METADATA_PREFIX = "user.e2b."


def metadata_of(request: Request) -> dict[str, str]:
    """Gives the metadata in a request's `X-Metadata-` headers; of a repeated one the first counts.

    Raises:
        ProtocolError: It holds other than printable ASCII, or too much of it.
    """
    metadata: dict[str, str] = {}
    for name, value in request.headers.items():
        if name.startswith(_METADATA_HEADER):
            metadata.setdefault(name.removeprefix(_METADATA_HEADER), value)
    for key, value in metadata.items():
        if not key or not f"{key}{value}".isascii() or not f"{key}{value}".isprintable():
            raise ProtocolError(400, f"the metadata {key!r} must have a key and be printable ASCII")
        if len(key) > _METADATA_KEY:
            raise ProtocolError(400, f"a metadata key has {len(key)} bytes; the most is {_METADATA_KEY}")
    total = sum(len(_METADATA_PREFIX) + len(key) + len(value) for key, value in metadata.items())
    if total > _METADATA_TOTAL:
        raise ProtocolError(400, f"the metadata takes {total} bytes; the most is {_METADATA_TOTAL}")
    return metadata


class FileWriter:
    """A file of a sandbox that is being written, in a thread, while the next block is on its way.

    Args:
        descriptor: It, open for writing; closed with the writer.
        entry: What it was when it was opened.
    """

    def __init__(self, descriptor: int, entry: Entry) -> None:
        self._descriptor = descriptor
        self.entry = entry

    @classmethod
    async def open(cls, contained: Sandbox, path: str, user: str, metadata: Mapping[str, str]) -> Self:
        """Opens a path inside a sandbox, making the directories above it."""
        with as_file_errors():
            return cls(*await contained.open_write(path, user, metadata=dict(metadata)))

    async def write(self, content: Content) -> None:
        """Writes some content.

        Raises:
            ProtocolError: The disk is full.
        """
        try:
            await in_thread(_write_all, self._descriptor, content)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise ProtocolError(507, "not enough disk space available") from error
            raise

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)


def _write_all(descriptor: int, content: Content) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


async def _body(request: Request) -> AsyncIterator[Content]:
    """Gives the body's content, decompressed in steps that are small whatever it decompresses to."""
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding not in ("identity", "gzip"):
        raise ProtocolError(400, f"the content encoding {coding!r} is not known: send gzip, or the content as it is")
    blocks = take_body(request.scope).blocks()
    async with contextlib.aclosing(blocks if coding == "identity" else _decompressed(blocks)) as content:
        async for block in content:
            yield block


async def _decompressed(blocks: AsyncGenerator[memoryview]) -> AsyncGenerator[bytes]:
    decompressor = zlib.decompressobj(wbits=31)
    try:
        async for block in blocks:
            for start in range(0, len(block), _STEP):
                rest: Content = block[start : start + _STEP]
                while rest:
                    if decompressor.eof:  # members may follow one another (RFC 1952, 2.2)
                        decompressor = zlib.decompressobj(wbits=31)
                    yield await in_thread(decompressor.decompress, rest, _STEP)
                    rest = decompressor.unused_data if decompressor.eof else decompressor.unconsumed_tail
    except zlib.error as error:
        raise ProtocolError(400, "the body is not the gzip stream that its header says") from error
    yield decompressor.flush()
    if not decompressor.eof:
        raise ProtocolError(400, "the gzip stream ended early")


async def receive_files(request: Request, contained: Sandbox, user: str, metadata: Mapping[str, str]) -> list[Entry]:
    """Stores a request's files, and gives what was stored.

    Args:
        request: The upload.
        contained: The sandbox.
        user: Whose files they are.
        metadata: What to keep beside each of them.

    Raises:
        ProtocolError: The upload is not one that can be stored.
    """
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    path = request.query_params.get("path")
    if kind == "multipart/form-data":
        receiver = _PartReceiver(contained, user, metadata, path)
        return await receiver.receive(_body(request), PartReader(content_type))
    if kind != "application/octet-stream":
        raise ProtocolError(400, "the content type must be multipart/form-data or application/octet-stream")
    if not path:
        raise ProtocolError(400, "the path of the file is missing: give it as ?path=")
    writer = await FileWriter.open(contained, path, user, metadata)
    try:
        async for chunk in _body(request):
            await writer.write(chunk)
    finally:
        writer.close()
    return [writer.entry]


class _PartReceiver:
    """Stores the parts of one multipart body that are files."""

    def __init__(self, contained: Sandbox, user: str, metadata: Mapping[str, str], path: str | None) -> None:
        self._contained = contained
        self._user = user
        self._metadata = metadata
        self._path = path
        self._entries: list[Entry] = []

    async def receive(self, body: AsyncIterator[Content], reader: PartReader) -> list[Entry]:
        writer: FileWriter | None = None
        try:
            async for chunk in body:
                for event in reader.feed(bytes(chunk)):
                    if isinstance(event, PartBegin):
                        writer = await self._open(event)
                    elif writer is not None and isinstance(event, PartData):
                        await writer.write(event.content)
                    elif writer is not None:
                        writer.close()
                        writer = None
            reader.close()
        finally:
            if writer is not None:
                writer.close()
        return self._entries

    async def _open(self, part: PartBegin) -> FileWriter | None:
        if part.name != "file":
            return None
        path = self._path or part.filename
        if not path:
            raise ProtocolError(400, "a part named file has no filename, and the URL no path")
        writer = await FileWriter.open(self._contained, path, self._user, self._metadata)
        if any(entry.path == writer.entry.path for entry in self._entries):
            writer.close()
            raise ProtocolError(400, f"the upload names the path '{path}' more than once")
        self._entries.append(writer.entry)
        return writer
