"""`/files` of one sandbox: who may use it, and downloads.

Paths are opened inside the sandbox; what comes out is the descriptor of a regular file, read here in threads and
sent a chunk at a time, so that memory stays flat whatever the size. Uploads are in `uploads`.
"""

from __future__ import annotations

import os
import re
import zlib
from email.utils import formatdate

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from e2b_magic.embedded.sandbox.sandbox import Entry, Sandbox
from e2b_magic.embedded.server.blocking import in_thread
from e2b_magic.embedded.server.callers import DEFAULT_USER
from e2b_magic.embedded.server.connections import transport_of
from e2b_magic.embedded.server.protocol_errors import ProtocolError, as_file_errors
from e2b_magic.embedded.server.text import readable
from e2b_magic.embedded.server.tokens import FileSignature, Operation, equal
from e2b_magic.embedded.server.uploads import metadata_of, receive_files

CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
# Of the largest offset in a file. Python refuses to read numbers of more than 4,300 digits.
_MOST_DIGITS = 19
_HEADERS = {
    # A file's own type would let a hostile page run at the origin of the server itself.
    "content-type": "application/octet-stream",
    "x-content-type-options": "nosniff",
    "content-disposition": "attachment",
    "vary": "Accept-Encoding",
}


def signature_of(request: Request) -> FileSignature | None:
    """Gives the signature in a request's URL, or None where there is none."""
    query = request.query_params
    value = query.get("signature")
    if value is None:
        return None
    expires = query.get("signature_expiration")
    if expires is not None and not re.fullmatch(r"\d{1,15}", expires):
        raise ProtocolError(400, "signature_expiration must be a time in seconds since the epoch")
    operation: Operation = "write" if request.method == "POST" else "read"
    return FileSignature(
        value=value,
        path=query.get("path", ""),
        operation=operation,
        user=query.get("username", ""),
        expires=None if expires is None else int(expires),
    )


def _authorize(request: Request, token: str) -> None:
    given = request.headers.get("x-access-token")
    if given is not None:
        if not equal(given, token):
            raise ProtocolError(401, "access token present in header but does not match")
        return
    signature = signature_of(request)
    if signature is None:
        raise ProtocolError(401, "missing signature query parameter")
    if not signature.matches(token):
        raise ProtocolError(401, "invalid signature")
    if signature.expired:
        raise ProtocolError(401, "signature is already expired")


def _wants_gzip(request: Request) -> bool:
    """Whether the client asks for gzip and nothing else.

    A library's default, `gzip, deflate`, accepts a file as it is, and over loopback compressing one only costs time.
    """
    codings = [coding.partition(";")[0].strip() for coding in request.headers.get("accept-encoding", "").split(",")]
    return codings == ["gzip"]


def _range_of(request: Request, size: int) -> range | None:
    """Gives the bytes that a request is about, or None for all; several ranges at once are answered with all.

    Raises:
        ProtocolError: There are none of them in the file, or its numbers are endless.
    """
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if max(len(first), len(last)) > _MOST_DIGITS:
        raise ProtocolError(400, f"a range's numbers must have no more than {_MOST_DIGITS} digits")
    wanted = (
        range(max(size - int(last), 0), size) if not first else range(int(first), min(int(last or size), size - 1) + 1)
    )
    if not wanted:
        raise ProtocolError(416, f"the range lies outside the file's {size} bytes")
    return wanted


class Files:
    """`/files` of one sandbox.

    Args:
        contained: The sandbox.
        token: Its access token.
    """

    def __init__(self, contained: Sandbox, token: str) -> None:
        self._contained = contained
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        request = Request(scope, receive)
        if request.method not in ("GET", "POST"):
            raise ProtocolError(405, "/files takes GET and POST")
        _authorize(request, self._token)
        if request.method == "GET":
            await self._download(request, send)
        else:
            response = await self._upload(request)
            await response(scope, receive, send)

    async def _upload(self, request: Request) -> Response:
        user = request.query_params.get("username") or DEFAULT_USER
        metadata = metadata_of(request)
        entries = await receive_files(request, self._contained, user, metadata)
        shared = {"metadata": metadata} if metadata else {}
        told = [{"name": readable(entry.name), "type": "file", "path": readable(entry.path)} for entry in entries]
        return JSONResponse([{**one, **shared} for one in told])

    async def _download(self, request: Request, send: Send) -> None:
        path = request.query_params.get("path")
        if not path:
            raise ProtocolError(400, "the path of the file is missing: give it as ?path=")
        with as_file_errors():
            descriptor, entry = await self._contained.open_read(
                path, request.query_params.get("username") or DEFAULT_USER
            )
        try:
            await _send_file(request, send, descriptor, entry)
        finally:
            os.close(descriptor)


async def _send_file(request: Request, send: Send, descriptor: int, entry: Entry) -> None:
    size = os.fstat(descriptor).st_size
    headers = {**_HEADERS, "last-modified": formatdate(entry.modified_time, usegmt=True)}
    wanted = _range_of(request, size)
    send = _while_heard(request, send)
    if wanted is not None:
        headers["content-range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{size}"
        headers["content-length"] = str(len(wanted))
        await _start(send, 206, headers)
        await _copy(send, descriptor, wanted.start, len(wanted))
    elif _wants_gzip(request):
        await _start(send, 200, {**headers, "content-encoding": "gzip"})
        await _copy_compressed(send, descriptor)
    elif size:
        await _start(send, 200, {**headers, "accept-ranges": "bytes", "content-length": str(size)})
        await _copy(send, descriptor, 0, size)
    else:
        # The kernel's own files below /proc have content but no size.
        await _start(send, 200, headers)
        await _copy(send, descriptor, 0, None)


def _while_heard(request: Request, send: Send) -> Send:
    """Gives a `send` that fails once the client has left; uvicorn's goes on as if it were there."""
    transport = transport_of(request.scope)

    async def send_if_heard(message: Message) -> None:
        if transport.is_closing():
            raise ClientDisconnect
        await send(message)

    return send_if_heard


async def _start(send: Send, status: int, headers: dict[str, str]) -> None:
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _copy(send: Send, descriptor: int, offset: int, length: int | None) -> None:
    """Sends `length` bytes from `offset` on, or everything to the end."""
    while length is None or length > 0:
        chunk = await in_thread(os.pread, descriptor, CHUNK if length is None else min(CHUNK, length), offset)
        if not chunk:
            break
        offset += len(chunk)
        length = None if length is None else length - len(chunk)
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    if length:
        # Nothing but a broken connection tells a client that the length it was promised is not to come.
        raise ProtocolError(500, "the file became shorter while it was read")
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _copy_compressed(send: Send, descriptor: int) -> None:
    """Sends the whole file as a gzip stream."""
    compressor = zlib.compressobj(level=1, wbits=31)
    offset = 0

    def next_chunk() -> tuple[int, bytes]:
        raw = os.pread(descriptor, CHUNK, offset)
        return len(raw), compressor.compress(raw) if raw else compressor.flush()

    while True:
        taken, chunk = await in_thread(next_chunk)
        offset += taken
        await send({"type": "http.response.body", "body": chunk, "more_body": bool(taken)})
        if not taken:
            return
