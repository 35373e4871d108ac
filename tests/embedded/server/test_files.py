"""`/files`: contents that go in and come out whole, and whoever may not have them."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
from e2b import AsyncSandbox, InvalidArgumentException, Sandbox
from e2b.exceptions import FileNotFoundException

from e2b_magic.embedded.endpoint import Endpoint

pytestmark = pytest.mark.sandbox

BYTES = bytes(range(256)) * 5000


@pytest.mark.parametrize("octet_stream", [True, False])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("content", [b"", b"\r\n--", BYTES], ids=["empty", "like a boundary", "long"])
def test_contents_come_back(sandbox: Sandbox, content: bytes, octet_stream: bool, compressed: bool) -> None:
    """What was written is read back byte for byte, by either form of upload, compressed or not."""
    written = sandbox.files.write(
        "some/new directory/ü.bin", content, gzip=compressed, use_octet_stream=octet_stream or compressed
    )
    assert written.path == "/home/user/some/new directory/ü.bin"
    assert bytes(sandbox.files.read(written.path, format="bytes", gzip=compressed)) == content


def test_many_files_go_at_once(sandbox: Sandbox) -> None:
    """Several files of one upload land at their own paths."""
    written = sandbox.files.write_files([{"path": f"many/{n}/file", "data": f"content {n}"} for n in range(20)])
    assert [entry.path for entry in written] == [f"/home/user/many/{n}/file" for n in range(20)]
    assert sandbox.files.read("many/7/file") == "content 7"


def test_a_shorter_file_leaves_nothing_of_a_longer(sandbox: Sandbox) -> None:
    """Writing over a file truncates it."""
    sandbox.files.write("shrinks", "long content")
    sandbox.files.write("shrinks", "short")
    assert sandbox.files.read("shrinks") == "short"


def test_the_kernels_files_have_content(sandbox: Sandbox) -> None:
    """A file below /proc, whose size is told as 0, is read to its end."""
    path = "/proc/sys/kernel/random/boot_id"
    assert sandbox.files.read(path) == sandbox.commands.run(f"cat {path}").stdout


def test_metadata_is_kept_and_replaced(sandbox: Sandbox) -> None:
    """Metadata comes back with the file, and each write replaces all of it."""
    sandbox.files.write("tagged", "", metadata={"Author": "me", "kind": "a b"})
    assert sandbox.files.get_info("tagged").metadata == {"author": "me", "kind": "a b"}
    sandbox.files.write("tagged", "", metadata={"other": "1"})
    assert sandbox.files.get_info("tagged").metadata == {"other": "1"}
    sandbox.files.write("tagged", "")
    assert not sandbox.files.get_info("tagged").metadata


@pytest.mark.parametrize(
    "headers", [{"x-metadata-a": "v" * 4096}, {"x-metadata-" + "k" * 247: "v"}, {"x-metadata-": "v"}]
)
def test_too_much_metadata_is_refused(envd: httpx.Client, headers: dict[str, str]) -> None:
    """Metadata that the file system could not keep is refused before anything is written."""
    headers = {"content-type": "application/octet-stream", **headers}
    answer = envd.post("/files", params={"path": "untagged"}, content=b"", headers=headers)
    assert answer.status_code == 400
    assert envd.get("/files", params={"path": "untagged"}).status_code == 404


def test_what_is_not_a_file_is_refused(sandbox: Sandbox) -> None:
    """A missing file, a directory, and a pipe that nobody writes to are refused, each by name and at once."""
    with pytest.raises(FileNotFoundException, match="'/home/user/nothing' does not exist"):
        sandbox.files.read("nothing")
    with pytest.raises(InvalidArgumentException, match="is a directory"):
        sandbox.files.read("/home")
    with pytest.raises(InvalidArgumentException):
        sandbox.files.write("/home", "x")
    sandbox.commands.run("mkfifo pipe")
    with pytest.raises(InvalidArgumentException):  # to open it would be to wait for ever
        sandbox.files.read("pipe", request_timeout=30)


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=6-", 206, b"6789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=8-100", 206, b"89"),
        ("bytes=-100", 206, b"0123456789"),
        ("bytes=0-0,2-3", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
        ("bytes=-", 200, b"0123456789"),
    ],
)
def test_a_range_is_what_is_sent(envd: httpx.Client, wanted: str, status: int, content: bytes) -> None:
    """One range of bytes is sent alone; what is no such range gets the whole file."""
    envd.post("/files?path=digits", content=b"0123456789", headers={"content-type": "application/octet-stream"})
    answer = envd.get("/files?path=digits", headers={"range": wanted})
    assert (answer.status_code, answer.content) == (status, content)
    assert ("content-range" in answer.headers) == (status == 206)


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=5-4", "bytes=-0"])
def test_a_range_outside_is_refused(envd: httpx.Client, wanted: str) -> None:
    """A range with no byte of the file in it is answered with 416."""
    envd.post("/files?path=digits", content=b"0123456789", headers={"content-type": "application/octet-stream"})
    assert envd.get("/files?path=digits", headers={"range": wanted}).status_code == 416


@pytest.mark.parametrize("wanted", ["bytes=0-" + "9" * 5000, "bytes=" + "9" * 5000 + "-", "bytes=-" + "9" * 5000])
def test_a_range_of_endless_numbers_is_no_range(envd: httpx.Client, wanted: str) -> None:
    """Numbers too long for any file are answered with 400."""
    envd.post("/files?path=digits", content=b"0123456789", headers={"content-type": "application/octet-stream"})
    answer = envd.get("/files?path=digits", headers={"range": wanted})
    assert (answer.status_code, "digits" in answer.json()["message"]) == (400, True)


@pytest.mark.parametrize(("accepted", "coding"), [("gzip", "gzip"), ("gzip, deflate", None), ("identity", None)])
def test_only_who_asks_for_gzip_gets_it(envd: httpx.Client, accepted: str, coding: str | None) -> None:
    """A download is compressed for a client that names gzip alone, and as it is for all others."""
    envd.post("/files?path=zeros", content=bytes(10**6), headers={"content-type": "application/octet-stream"})
    answer = envd.get("/files?path=zeros", headers={"accept-encoding": accepted})
    assert answer.headers.get("content-encoding") == coding
    assert answer.content == bytes(10**6)


def test_a_page_is_not_one_to_the_browser(envd: httpx.Client) -> None:
    """A file is never sent as something that a browser would run at the server's own origin."""
    envd.post("/files?path=page.html", content=b"<script>", headers={"content-type": "application/octet-stream"})
    headers = envd.get("/files?path=page.html").headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"] == "attachment"


def _form(*parts: bytes, end: bytes = b"--x--\r\n") -> bytes:
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + end


_FILE = b'Content-Disposition: form-data; name="file"; filename="form/a"\r\n\r\ncontent'
_NAMELESS = b'Content-Disposition: form-data; name="file"\r\n\r\ncontent'
_FIELD = b'Content-Disposition: form-data; name="note"\r\n\r\nnot a file'


@pytest.mark.parametrize(
    ("query", "content", "paths"),
    [
        ("", _form(_FILE, _FIELD), ["/home/user/form/a"]),
        ("path=form/b", _form(_FIELD, _FILE), ["/home/user/form/b"]),
        ("path=form/c", _form(_NAMELESS), ["/home/user/form/c"]),
        ("", _form(_FIELD), []),
        ("", _form(), []),
    ],
)
def test_the_files_of_a_form_are_stored(envd: httpx.Client, query: str, content: bytes, paths: list[str]) -> None:
    """Of a form only the fields named `file` are stored, at the URL's path or their own."""
    answer = envd.post(f"/files?{query}", content=content, headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 200
    assert [entry["path"] for entry in answer.json()] == paths
    for path in paths:
        assert envd.get("/files", params={"path": path}).content == b"content"


@pytest.mark.parametrize(
    ("content_type", "content", "message"),
    [
        ("multipart/form-data", b"", "boundary"),
        ("multipart/form-data; boundary=" + "y" * 300, b"", "boundary"),
        ("multipart/form-data; boundary=x", _form(_FILE, _FILE), "more than once"),
        ("multipart/form-data; boundary=x", _form(_FILE, end=b""), "ended before"),
        ("multipart/form-data; boundary=x", _form(_NAMELESS), "no filename"),
        ("multipart/form-data; boundary=x", b"no form", "cannot be read"),
        ("multipart/form-data; boundary=x", b"", "ended before"),
        ("application/octet-stream", b"x", "path"),
        ("application/json", b"{}", "content type"),
        ("", b"", "content type"),
    ],
)
def test_an_upload_that_makes_no_sense_is_refused(
    envd: httpx.Client, content_type: str, content: bytes, message: str
) -> None:
    """Each malformed upload is answered with 400 and what is wrong with it."""
    answer = envd.post("/files", content=content, headers={"content-type": content_type})
    assert answer.status_code == 400
    assert message in answer.json()["message"]


def test_the_members_of_a_compression_are_one_content(envd: httpx.Client) -> None:
    """Two gzip streams, one after the other, are the content of both, as gzip itself has it."""
    headers = {"content-type": "application/octet-stream", "content-encoding": "gzip"}
    content = gzip.compress(b"one" * 200_000) + gzip.compress(b"two")
    assert envd.post("/files?path=members", content=content, headers=headers).status_code == 200
    assert envd.get("/files?path=members").content == b"one" * 200_000 + b"two"


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"content", mtime=0)[:-9], b""])
def test_a_broken_compression_is_refused(envd: httpx.Client, content: bytes) -> None:
    """A body that is not the gzip stream it claims to be, or not all of it, is refused."""
    headers = {"content-type": "application/octet-stream", "content-encoding": "gzip"}
    assert envd.post("/files?path=broken", content=content, headers=headers).status_code == 400
    headers["content-encoding"] = "br"
    assert envd.post("/files?path=broken", content=content, headers=headers).status_code == 400


def test_a_signature_opens_one_file(server: Endpoint, sandbox: Sandbox) -> None:
    """A signed URL reads or writes the one file it was made for, without any header, until its time is over."""
    sandbox.files.write("/tmp/signed", "content")
    with httpx.Client(trust_env=False) as client:
        url = sandbox.download_url("/tmp/signed")
        assert client.get(url).text == "content"
        assert client.get(url.replace("signed", "other")).json()["message"] == "invalid signature"
        assert client.post(url, files={"file": b"x"}).status_code == 401
        assert client.get(f"{server.url}/files?path=/tmp/signed").status_code == 401
        late = sandbox.download_url("/tmp/signed", use_signature_expiration=-10)
        assert client.get(late).json()["message"] == "signature is already expired"
        upload = sandbox.upload_url("/tmp/signed", use_signature_expiration=60)
        assert client.post(upload, files={"file": ("ignored", b"new")}).status_code == 200
    assert sandbox.files.read("/tmp/signed") == "new"


def test_a_signature_names_its_user(sandbox: Sandbox) -> None:
    """A signed URL for root resolves a relative path in root's home."""
    sandbox.files.write("/root/of-root", "content")
    with httpx.Client(trust_env=False) as client:
        assert client.get(sandbox.download_url("of-root", user="root")).text == "content"


@pytest.mark.slow
def test_a_large_file_passes_through_little_memory(server: Endpoint, sandbox: Sandbox) -> None:
    """300 MB go in and out, whole, and the server never holds more than a few chunks."""
    size, block = 300 * 1024 * 1024, os.urandom(1024 * 1024)

    class Source(io.RawIOBase):
        sent = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            count = min(len(buffer), len(block), size - self.sent)
            buffer[:count] = block[:count]
            self.sent += count
            return count

    before = _memory(server)
    sandbox.files.write("large", io.BufferedReader(Source(), len(block)), request_timeout=0)
    assert _memory(server) - before < 40_000_000
    received = 0
    for chunk in sandbox.files.read("large", format="stream"):
        received += len(chunk)
        assert received % (100 * 2**20) or _memory(server) - before < 40_000_000
    assert received == size
    assert _memory(server) - before < 40_000_000
    expected = hashlib.sha256(sandbox.files.read("large", format="bytes")).hexdigest()
    assert sandbox.commands.run("sha256sum large").stdout.split()[0] == expected
    sandbox.files.remove("large")


def _memory(server: Endpoint) -> int:
    return int(psutil.Process(server.pid).memory_info().rss)


def test_a_client_that_leaves_mid_upload_harms_nobody(envd: httpx.Client) -> None:
    """An upload that breaks off leaves the server as it was."""

    def endless() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        envd.post("/files?path=torn", content=endless(), headers={"content-type": "application/octet-stream"})
    assert envd.get("/files?path=/etc/passwd").status_code == 200


async def test_the_async_client_streams(options: dict[str, Any]) -> None:
    """The async SDK writes from an iterator and reads into one."""
    sandbox = await AsyncSandbox.create(**options)

    async def content() -> Any:
        for number in range(100):
            yield f"{number}\n".encode() * 1000

    await sandbox.files.write("streamed", content())
    read = b"".join([chunk async for chunk in await sandbox.files.read("streamed", format="stream")])
    assert read == b"".join(f"{number}\n".encode() * 1000 for number in range(100))
    await sandbox.kill()
