"""What runs E2B's suite: the names by which its tests find the server, and the list of what is left out."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import sys
import tomllib
from pathlib import Path

import httpx
import pytest

from e2b_magic.embedded import runtime
from e2b_magic.exceptions import ContainmentError
from tests.sdk_suite.https_front import HttpsFront
from tests.sdk_suite.left_out import LIST, Entry, read_list, stale

_PROGRAM = """
import urllib.request
from e2b import Sandbox
with Sandbox.create() as sandbox:
    assert sandbox.get_host(80) == f"80-{sandbox.sandbox_id}.localhost"
    sandbox.files.write("told", sandbox.commands.run("echo by its name").stdout)
    print(urllib.request.urlopen(sandbox.download_url("told")).read().decode())
"""


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers a request for `/whole`, and resets the connection of any other in the middle of its answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal")
    await writer.drain()
    if head.startswith(b"GET /whole "):
        writer.write(b"lo")
        writer.close()
        return
    await asyncio.sleep(0.05)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _client(front: HttpsFront) -> httpx.AsyncClient:
    told = front.environment
    trust = ssl.create_default_context(cafile=told["SSL_CERT_FILE"])
    return httpx.AsyncClient(proxy=told["HTTPS_PROXY"], verify=trust, trust_env=False)


async def test_the_front_carries_bytes_and_resets(tmp_path: Path) -> None:
    """Answers come through under any of the names, a reset comes as one, and no other name leads anywhere."""
    async with await asyncio.start_server(_answer, "127.0.0.1", 0) as upstream:
        port = upstream.sockets[0].getsockname()[1]
        async with HttpsFront(port, tmp_path) as front, _client(front) as client:
            for name in ("api.localhost", "8000-abc.localhost", "localhost"):
                assert (await client.get(f"https://{name}/whole")).text == "hallo"
            with pytest.raises(httpx.ReadError):
                await client.get("https://api.localhost/reset")
            with pytest.raises(httpx.ProxyError):
                await client.get("https://api.example.org/whole")


@pytest.mark.sandbox
async def test_the_sdk_finds_the_server_by_its_domain(tmp_path: Path) -> None:
    """With a domain and a key alone, as for E2B's cloud, the unmodified SDK and its signed URLs reach a sandbox."""
    directory = tmp_path / "embedded"
    try:
        endpoint = await asyncio.to_thread(runtime.ensure, directory)
    except ContainmentError as error:
        pytest.skip(str(error))
    try:
        async with HttpsFront(endpoint.port, tmp_path) as front:
            given = {"PATH": os.environ["PATH"], "E2B_API_KEY": endpoint.api_key, **front.environment}
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", _PROGRAM), env=given, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
            )
            out, _ = await process.communicate()
        assert (process.returncode, out.decode().strip()) == (0, "by its name")
    finally:
        await asyncio.to_thread(runtime.stop, directory)


def test_what_is_left_out_depends_on_the_version() -> None:
    """A group holds for the versions that it names, and for all where it names none."""
    text = """
        [[group]]
        reason = "always"
        tests = ["a.py::test_one", "b.py"]
        [[group]]
        reason = "since"
        sdk = ">2.45.1"
        tests = ["a.py::test_two"]
    """
    always = [Entry("a.py", "test_one", "always"), Entry("b.py", "", "always")]
    assert read_list(text, "2.45.1") == always
    assert read_list(text, "2.63.0") == [*always, Entry("a.py", "test_two", "since")]


def test_an_entry_that_names_nothing_is_told(tmp_path: Path) -> None:
    """An entry whose file is gone, or has been looked through in vain, is stale; one not looked for is not."""
    for name in ("a.py", "b.py"):
        (tmp_path / name).touch()
    entries = [
        Entry(*place, reason="") for place in (("a.py", "here"), ("a.py", "gone"), ("b.py", "any"), ("c.py", ""))
    ]
    assert stale(entries, [("a.py", "here")], tmp_path) == ["a.py::gone", "c.py"]


@pytest.mark.parametrize("version", ["2.45.1", "2.63.0"])
def test_the_list_names_nothing_twice(version: str) -> None:
    """Each test that is left out has one reason."""
    entries = read_list(LIST.read_text(), version)
    assert len({(entry.file, entry.name) for entry in entries}) == len(entries)
    assert all(group["reason"] for group in tomllib.loads(LIST.read_text())["group"])
