"""The awaited twins of what takes many steps, with the worker here and behind a Jupyter server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from e2b_magic.client import Client
from e2b_magic.exceptions import RemoteFileNotFoundError
from e2b_magic.worker.protocol import Event, Output

pytestmark = pytest.mark.sandbox


async def test_trees_go_and_come_back(client: Client, tmp_path: Path) -> None:
    """Upload, sync and download give what the others give, and tell of it on the loop that awaits them."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "one").write_text("1")
    told: list[tuple[int, int]] = []

    def tell(done: int, total: int) -> None:
        asyncio.get_running_loop()  # which there is on the loop's own thread alone
        told.append((done, total))

    assert (await client.aupload(source, "awaited", on_progress=tell)).files == 1
    assert (told[0], told[-1]) == ((0, 0), (1, 1))  # how much there is, is known when all has been found
    (source / "two").write_text("22")
    assert (await client.aupload_changes(source, "awaited")).files == 1
    assert (await client.adownload("awaited", tmp_path / "back")).files == 2
    assert (tmp_path / "back" / "two").read_text() == "22"
    assert await client.aread_text("awaited/two") == "22"
    assert (await client.acopy_file("awaited/two", "awaited/three")).name == "three"
    assert [entry.name for entry in await client.afind_files("awaited", name="t*")] == ["three", "two"]


async def test_a_setup_is_awaited_and_cancelled(client: Client) -> None:
    """A project is made ready; cancelled while it installs, what runs is ended, and that is stored."""
    project = await client.asetup_project("waited", files={"a": "1"}, install="cat a")
    assert (project.state, client.project) == ("ready", "waited")
    begun = asyncio.Event()

    def listen(event: Event) -> None:
        if isinstance(event, Output) and "begun" in event.text:
            begun.set()

    install = "echo begun; exec -a awaited-install sleep 321"
    setup = asyncio.create_task(client.asetup_project("waited", files={"a": "1"}, install=install, on_event=listen))
    await begun.wait()
    setup.cancel()
    with pytest.raises(asyncio.CancelledError):
        await setup
    assert client.get_project_info("waited").state == "interrupted"
    count = "grep -la '[a]waited-install' /proc/[0-9]*/cmdline | wc -l"
    for _ in range(100):  # a worker elsewhere may hear of it after its caller is done
        if (await client.aexecute_command(count, use_cache=False)).stdout == "0\n":
            break
        await asyncio.sleep(0.1)
    assert (await client.aexecute_command(count, use_cache=False)).stdout == "0\n"


async def test_a_cancelled_upload_leaves_nothing(client: Client, tmp_path: Path) -> None:
    """Cancelled between two pieces, nothing is at the destination, and the client goes on."""
    (tmp_path / "large").write_bytes(bytes(64 * 1024 * 1024))
    moving = asyncio.Event()

    def tell(done: int, total: int) -> None:
        if done:
            moving.set()

    upload = asyncio.create_task(client.aupload(tmp_path / "large", "never", on_progress=tell))
    await moving.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    with pytest.raises(RemoteFileNotFoundError):
        await client.aread_file("never")
