"""Trees on their way into a sandbox and out of it, when something there goes wrong or takes long."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from e2b.sandbox_sync.filesystem.filesystem import Filesystem

from e2b_magic.client import Client
from e2b_magic.config import from_environment
from e2b_magic.embedded import runtime
from e2b_magic.exceptions import FileError, InvalidRequestError
from e2b_magic.sandboxes import transfer, tree_transfers
from e2b_magic.sandboxes.lease import Lease
from e2b_magic.sandboxes.manager import SandboxManager
from e2b_magic.sandboxes.transfers import close_transfer, send_piece
from e2b_magic.worker.protocol import Event
from e2b_magic.worker.requests.transfers import CloseTransfer, OpenDownload, OpenUpload, SendPiece

_LEFT = "find ~ /tmp -xdev -name '.e2b-magic-*'"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Gives a client whose worker is in this process."""
    directory = tmp_path_factory.mktemp("trees") / "e2b-magic"
    client = Client(from_environment({"E2B_MAGIC_DIRECTORY": str(directory)}))
    yield client
    client.close()
    runtime.stop(directory / "embedded")


@pytest.fixture
def meddle(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Changes something in the command that packs, or in the one that unpacks."""

    def meddle(which: str, old: str, new: str) -> None:
        real: Callable[..., Any] = getattr(tree_transfers, which)

        def changed(*given: Any, **named: Any) -> Any:
            made = real(*given, **named)
            script, *others = (made,) if isinstance(made, str) else made
            assert old in script
            script = script.replace(old, new, 1)
            return (script, *others) if others else script

        monkeypatch.setattr(tree_transfers, which, changed)

    return meddle


def _run(client: Client, command: str) -> str:
    return client.execute_command(command, use_cache=False).stdout


def _tree(path: Path) -> Path:
    path.mkdir()
    (path / "f").write_bytes(bytes(9_000_000))
    return path


@pytest.mark.sandbox
def test_an_upload_that_fails_leaves_no_part(
    client: Client, tmp_path: Path, meddle: Callable[[str, str, str], None]
) -> None:
    """The parts that were on their way when the command there ended are gone, too."""
    meddle("unpack_scripts", "echo ready", "clear_away; trap - EXIT; echo ready; exit 3")
    with pytest.raises(FileError, match="failing: exit code 3"):
        client.upload(_tree(tmp_path / "tree"), "failing")
    assert _run(client, f"{_LEFT}; ls -d failing || true") == ""


@pytest.mark.sandbox
async def test_an_upload_is_cancelled_while_it_closes(
    client: Client, tmp_path: Path, meddle: Callable[[str, str, str], None]
) -> None:
    """Cancelled when all has been sent and tar is still at work, tar is ended, and nothing appears."""
    slow = "slow() { cat > /dev/null; touch ~/closing; exec -a slow-tar sleep 60; }"
    meddle("unpack_scripts", "tar $steps", f"{slow}; slow")
    upload = asyncio.create_task(client.aupload(_tree(tmp_path / "tree"), "cancelled"))
    while not (await client.aexecute_command("ls closing || true", use_cache=False)).stdout:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    async with asyncio.timeout(20):
        while (await client.aexecute_command(f"pgrep -f '^slow-tar'; {_LEFT}", use_cache=False)).stdout:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (await client.aexecute_command("rm closing; ls -d cancelled || true", use_cache=False)).stdout == ""


@pytest.mark.sandbox
def test_a_large_tree_comes_in_few_parts(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first parts of an upload hold a piece each, the others two, and all that is sent arrives."""
    parts, write = dict[str, list[int]](), Filesystem.write

    def counting(files: Filesystem, path: str, data: Iterator[bytes], **options: Any) -> Any:
        sizes = parts.setdefault(path.rpartition("/")[2], [])

        def counted() -> Iterator[bytes]:
            for chunk in data:
                sizes.append(len(chunk))
                yield chunk

        return write(files, path, counted(), **options)

    monkeypatch.setattr(Filesystem, "write", counting)
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "f").write_bytes(bytes(range(256)) * 80_000)
    client.upload(tmp_path / "large", "large")
    assert [(name, round(sum(sizes) / 1_000_000)) for name, sizes in parts.items()] == [
        ("0", 1), ("1", 2), ("2", 4), ("3", 8), ("4", 5)
    ]  # fmt: skip
    theirs = _run(client, "sha256sum < large/f").split()[0]
    assert theirs == hashlib.sha256((tmp_path / "large" / "f").read_bytes()).hexdigest()


class _Slow(transfer.Upload):
    target = "slow"

    async def _write(self) -> None:
        """Is not begun."""

    async def _land(self) -> None:
        """Has nothing to land."""

    async def send(self, piece: list[bytes]) -> None:
        """Takes nothing."""

    async def finish(self) -> None:
        """Takes longer than an upload waits for its client."""
        await asyncio.sleep(0.3)
        self.lease.done.append("finished")  # type: ignore[attr-defined]
        raise FileError("finished")

    async def _clear_away(self) -> None:
        self.lease.done.append("cleared away")  # type: ignore[attr-defined]


async def _unheard(event: Event) -> None:
    pass


async def test_an_upload_closes_for_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload is not given up for want of its client while it takes its place at the client's word."""
    monkeypatch.setattr(transfer, "PATIENCE", 0.1)
    manager, done = cast("SandboxManager", SimpleNamespace(kept={})), list[str]()
    lease, name = cast("Lease", SimpleNamespace(done=done)), "0" * 32
    _Slow(manager, lease, OpenUpload(project_id="p", path="slow", transfer=name))
    with pytest.raises(FileError, match="finished"):
        await close_transfer(manager, CloseTransfer(project_id="p", transfer=name), _unheard)
    assert done == ["finished", "cleared away"]


async def test_an_upload_that_was_given_up_is_not_said_to_have_landed() -> None:
    """To close an upload that nobody knows any more is an error; to discard one is not."""
    manager, unknown = cast("SandboxManager", SimpleNamespace(kept={})), "0" * 32
    with pytest.raises(InvalidRequestError, match="no such transfer"):
        await close_transfer(manager, CloseTransfer(project_id="p", transfer=unknown), _unheard)
    closing = CloseTransfer(project_id="p", transfer=unknown, discard=True)
    assert await close_transfer(manager, closing, _unheard) == {}


class _Clearing(_Slow):
    async def _clear_away(self) -> None:
        await asyncio.sleep(0.05)
        await super()._clear_away()


async def test_a_transfer_is_known_until_it_has_been_cleared_away() -> None:
    """Discarded twice at once, it is cleared away once, and both hear of it then; meanwhile nothing goes into it."""
    manager, done = cast("SandboxManager", SimpleNamespace(kept={})), list[str]()
    lease, name = cast("Lease", SimpleNamespace(done=done)), "0" * 32
    _Clearing(manager, lease, OpenUpload(project_id="p", path="slow", transfer=name))
    discard = CloseTransfer(project_id="p", transfer=name, discard=True)
    first = asyncio.create_task(close_transfer(manager, discard, _unheard))
    await asyncio.sleep(0)
    with pytest.raises(InvalidRequestError, match="no such transfer"):
        await send_piece(manager, SendPiece(project_id="p", transfer=name, content=[]), _unheard)
    assert await close_transfer(manager, discard, _unheard) == {}
    assert (done, manager.kept) == (["cleared away"], {})
    await first


class _Endless:
    """A stream of chunks without end."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __enter__(self) -> Iterator[bytes]:
        return itertools.repeat(bytes(300_000))

    def __exit__(self, *of_what: object) -> None:
        self.closed.set()


async def test_a_download_that_is_discarded_reads_no_further() -> None:
    """Memory holds a few pieces while nobody asks, and what reads ahead in its thread ends with the transfer."""
    manager, stream = cast("SandboxManager", SimpleNamespace(kept={})), _Endless()

    async def in_threads() -> Any:
        return SimpleNamespace(files=SimpleNamespace(read=lambda path, **options: stream))

    lease, name = cast("Lease", SimpleNamespace(in_threads=in_threads)), "0" * 32
    download = transfer.FileDownload(manager, lease, OpenDownload(project_id="p", path="f", transfer=name))
    download.begin()
    piece = await download.receive()
    assert sum(map(len, piece)) == 1_200_000
    await asyncio.sleep(0.1)
    assert download._pieces.qsize() == transfer.AHEAD
    assert not stream.closed.is_set()
    await download.close()
    assert await asyncio.to_thread(stream.closed.wait, 5)
