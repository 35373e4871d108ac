"""Transfers to where there is no room: an error that says so, what was there before, and nothing else."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2b_magic.client import Client
from e2b_magic.config import from_environment
from e2b_magic.embedded import runtime
from e2b_magic.exceptions import FileError, NotEnoughSpaceError
from e2b_magic.sandboxes import tree_transfers
from e2b_magic.sandboxes.tar_script import unpack_scripts

pytestmark = pytest.mark.sandbox

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Gives a client whose sandboxes may take 40 MiB of disk."""
    directory = tmp_path_factory.mktemp("full") / "e2b-magic"
    runtime.ensure(directory / "embedded", settings={"E2B_MAGIC_DISK": "40M"})
    client = Client(from_environment({"E2B_MAGIC_DIRECTORY": str(directory)}))
    yield client
    client.close()
    runtime.stop(directory / "embedded")


def _run(client: Client, command: str) -> str:
    return client.execute_command(command, use_cache=False).stdout


def _is_full(client: Client) -> bool:
    try:
        client.write_file("one-more", "")
    except NotEnoughSpaceError:
        return True
    return False


def _tree(root: Path, count: int) -> Path:
    root.mkdir()
    for number in range(count):
        (root / f"{number:02}").write_bytes(bytes(MEGABYTE))
    return root


def test_a_tree_that_fills_the_sandbox_is_taken_away_again(client: Client, tmp_path: Path) -> None:
    """The error says that there is no room; what was there is whole, and neither parts nor half a tree stay."""

    def wait(done: int, total: int) -> None:
        # The quota is kept by looking now and then.
        deadline = time.monotonic() + 60
        while done > 60 * MEGABYTE and not _is_full(client):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    client.use_project("trees")
    client.write_file("big/precious", "old")
    with pytest.raises(NotEnoughSpaceError):
        client.upload(_tree(tmp_path / "tree", 90), "full/of/it", on_progress=wait)
    assert _run(client, "ls -A /tmp ~ | grep -E 'e2b-magic|full'; cat big/precious") == "old"


def test_what_is_killed_for_want_of_room_is_told_so(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a full disk has the unpacking killed after all has been sent, the error still says that there is no room."""

    def filling(parts: str, target: str) -> tuple[str, str]:
        script, removal = unpack_scripts(parts, target)
        fill = 'while head -c 1000000 /dev/zero >> "$parts/fill"; do sleep 0.02; done'
        return script.replace("echo ready\n", f"echo ready; {fill}\n", 1), removal

    monkeypatch.setattr(tree_transfers, "unpack_scripts", filling)
    client.use_project("killed")
    with pytest.raises(NotEnoughSpaceError, match=r"^full: "):
        client.upload(_tree(tmp_path / "tree", 1), "full")
    assert _run(client, "ls -A /tmp ~ | grep -E 'e2b-magic|full'; true") == ""


def test_a_file_for_a_full_sandbox_leaves_the_old_one(client: Client, tmp_path: Path) -> None:
    """The error says that there is no room, and the file that was to be replaced is there."""
    client.use_project("files")
    client.write_file("precious", "old")
    _run(client, "while i=$((i + 1)); do head -c 1000000 /dev/zero > fill$i; sleep 0.02; done")  # until it is killed
    (tmp_path / "precious").write_bytes(bytes(MEGABYTE))
    with pytest.raises(NotEnoughSpaceError):
        client.upload(tmp_path / "precious")
    assert client.read_text("precious") == "old"
    assert _run(client, "ls -A ~ | grep -F .precious; true") == ""


@contextmanager
def _room(size: int) -> Iterator[None]:
    """Lets no file of this process grow beyond a size, which to who writes it is a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("remote", ["large", "large/zeros"])
def test_a_full_disk_here_leaves_what_was_here(client: Client, tmp_path: Path, remote: str) -> None:
    """A file and a tree, to a new place and to one that is there: the error names the file, the old one is whole."""
    client.use_project("here")
    _run(client, "mkdir -p large && head -c 8000000 /dev/zero > large/zeros && echo x > large/a")
    old = tmp_path / "there" / "zeros"
    old.parent.mkdir()
    old.write_text("old")
    with _room(5 * MEGABYTE):
        for goal in (tmp_path / "there", tmp_path / "new"):
            with pytest.raises(FileError, match=r"/zeros: File too large"):
                client.download(remote, goal / "zeros" if remote.endswith("zeros") else goal)
    assert old.read_text() == "old"
    assert {path.name for path in tmp_path.rglob("*")} - {"a"} == {"there", "zeros"} | (
        {"new"} if "/" in remote else set()
    )
    assert _run(client, "ls -A /tmp | grep e2b-magic; true") == ""
