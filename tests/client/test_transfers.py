"""Files and trees into a real sandbox and out of it: what arrives, what breaks off, and what each slip says."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.config import from_environment
from e2b_magic.embedded import runtime
from e2b_magic.exceptions import FileError, InvalidRequestError, RemoteFileNotFoundError, RemotePathError

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module", params=["in this process", "behind a Jupyter server"])
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, start_jupyter: Callable[..., Any]
) -> Iterator[Client]:
    """Gives a client whose worker is in this process, or behind a Jupyter server."""
    directory = tmp_path_factory.mktemp("transfers") / "e2b-magic"
    if request.param == "in this process":
        client = Client(from_environment({"E2B_MAGIC_DIRECTORY": str(directory)}))
    else:
        client = Client(start_jupyter().configuration(directory))
    yield client
    client.close()
    runtime.stop(directory / "embedded")


def _run(client: Client, command: str) -> str:
    return client.execute_command(command, use_cache=False).stdout


def _tree(root: Path) -> Path:
    """Makes a small tree with what trees have in them."""
    (root / "pkg" / "empty").mkdir(parents=True)
    (root / "pkg" / "a b.py").write_text("print('ü')\n")
    (root / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (root / "run.sh").chmod(0o755)
    (root / "start").symlink_to("run.sh")
    return root


def test_a_tree_arrives_as_it_is(client: Client, tmp_path: Path) -> None:
    """Contents, modes, links and empty directories are those of the tree here, in the directory that was named."""
    result = client.upload(_tree(tmp_path), "arrives")
    assert (result.path, result.files, result.left_out) == ("/home/user/arrives", 3, ())
    found = _run(client, "cd arrives && find . | sort && ./start && python3 'pkg/a b.py'")
    assert found.split("\n")[:-1] == [
        ".", "./pkg", "./pkg/a b.py", "./pkg/empty", "./run.sh", "./start", "ran", "ü",
    ]  # fmt: skip


def test_a_tree_comes_back(client: Client, tmp_path: Path) -> None:
    """What went into the sandbox comes out equal, and progress ends with all of it."""
    tree = _tree(tmp_path / "here")
    client.upload(tree, "back")
    told: list[tuple[int, int]] = []
    result = client.download("back", tmp_path / "there", on_progress=lambda done, total: told.append((done, total)))
    assert result.files == 3
    assert (tmp_path / "there" / "pkg" / "a b.py").read_text() == "print('ü')\n"
    assert (tmp_path / "there" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "there" / "start").readlink() == Path("run.sh")
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1]


def test_a_file_goes_where_it_is_sent(client: Client, tmp_path: Path) -> None:
    """A path, a directory that is there and a name with a slash at its end each mean what they mean to cp."""
    (tmp_path / "f.txt").write_text("x")
    paths = [client.upload(tmp_path / "f.txt", to).path for to in (None, "sub/g.txt", "/tmp", "new/")]
    assert paths == ["/home/user/f.txt", "/home/user/sub/g.txt", "/tmp/f.txt", "/home/user/new/f.txt"]


def test_a_file_comes_where_it_is_wanted(client: Client, tmp_path: Path) -> None:
    """A path, and a directory that is there; a file that was there is replaced."""
    client.write_file("wanted.txt", "new")
    (tmp_path / "old.txt").write_text("old")
    assert client.download("wanted.txt", tmp_path / "old.txt").path == str(tmp_path / "old.txt")
    assert client.download("wanted.txt", tmp_path).path == str(tmp_path / "wanted.txt")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old.txt": "new", "wanted.txt": "new"}


def test_a_large_file_survives_both_ways(client: Client, tmp_path: Path) -> None:
    """Many pieces, the last one small: the same bytes arrive and come back."""
    content = os.urandom(9_000_001)
    (tmp_path / "big").write_bytes(content)
    client.upload(tmp_path / "big")
    assert _run(client, "sha256sum < big").split()[0] == hashlib.sha256(content).hexdigest()
    client.download("big", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == content


def test_an_interrupted_upload_leaves_nothing(client: Client, tmp_path: Path) -> None:
    """A Ctrl-C in the middle leaves the old file, and no part of the new one; the next upload works."""
    client.write_file("precious", "old")
    (tmp_path / "precious").write_bytes(bytes(30_000_000))

    def interrupt(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.upload(tmp_path / "precious", on_progress=interrupt)
    assert client.read_text("precious") == "old"
    assert _run(client, "find ~ /tmp -name '.*precious*' -o -name '.e2b-magic*'") == ""
    assert client.upload(tmp_path / "precious").size == 30_000_000


def test_an_interrupted_download_leaves_nothing(client: Client, tmp_path: Path) -> None:
    """Neither half a file here, nor an archive in the sandbox."""
    _run(client, "mkdir -p half && head -c 30000000 /dev/zero > half/zero")

    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    for remote in ("half", "half/zero"):
        with pytest.raises(KeyboardInterrupt):
            client.download(remote, tmp_path / "got", on_progress=interrupt)
        assert not list(tmp_path.iterdir())
    assert _run(client, "find /tmp -name '.e2b-magic*'") == ""


def _numbered(root: Path, content: bytes) -> Path:
    """Makes a tree whose files together need several parts."""
    root.mkdir()
    for number in range(12):
        (root / f"{number:02}").write_bytes(content)
    return root


@pytest.mark.parametrize("verb", ["upload", "upload_changes"])
@pytest.mark.parametrize("there", ["new", "there"])
def test_an_interrupted_tree_leaves_what_was_there(client: Client, tmp_path: Path, verb: str, there: str) -> None:
    """A Ctrl-C in the middle is over within two seconds; no file has changed, and no part is left."""
    place = f"interrupted-{verb}-{there}"
    if there == "there":
        client.upload(_numbered(tmp_path / "old", b"old"), place)
    tree, interrupted = _numbered(tmp_path / "tree", os.urandom(1_500_000)), 0.0

    def interrupt(done: int, total: int) -> None:
        nonlocal interrupted
        if done > total // 2:
            interrupted = time.monotonic()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        getattr(client, verb)(tree, place, on_progress=interrupt)
    assert time.monotonic() - interrupted < 2
    found = _run(client, f"ls -A /tmp ~ | grep e2b-magic; cat {place}/* 2>/dev/null; true")
    assert found == ("old" * 12 if there == "there" else "")
    assert getattr(client, verb)(tree, place).files == 12
    assert _run(client, f"sha256sum < {place}/07").split()[0] == hashlib.sha256((tree / "07").read_bytes()).hexdigest()


def test_an_interrupted_tree_from_the_sandbox_leaves_what_was_here(client: Client, tmp_path: Path) -> None:
    """Each file here is the old one or the new one, whole, and no archive is left in the sandbox."""
    client.upload(_numbered(tmp_path / "tree", b"n" * 1_500_000), "interrupted-get")
    old = _numbered(tmp_path / "old", b"old")

    def interrupt(done: int, total: int) -> None:
        if done > 9_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.download("interrupted-get", old, on_progress=interrupt)
    assert {path.name for path in old.iterdir()} == {f"{number:02}" for number in range(12)}
    assert {path.read_bytes() for path in old.iterdir()} == {b"old", b"n" * 1_500_000}
    assert _run(client, "ls -A /tmp | grep e2b-magic; true") == ""


def test_a_tree_of_what_is_not_excluded_comes_back(client: Client, tmp_path: Path) -> None:
    """Patterns hold on the way back, progress counts what comes, and what leaves nothing over is one clear line."""
    client.upload(_tree(tmp_path / "here"), "partly")
    result = client.download("partly", tmp_path / "there", exclude=["*.sh", "empty/"])
    assert (result.files, (tmp_path / "there" / "pkg" / "empty").exists()) == (2, False)
    with pytest.raises(InvalidRequestError, match="partly holds nothing that is not excluded"):
        client.download("partly", tmp_path / "nothing", exclude=["*"])


def test_sync_brings_what_changed_and_nothing_else(client: Client, tmp_path: Path) -> None:
    """A second run brings nothing; then a changed, a new, a removed and a swapped file are brought in one."""
    tree = _tree(tmp_path)
    assert client.upload_changes(tree, "synced").files == 3
    assert client.upload_changes(tree, "synced").files == 0
    (tree / "run.sh").write_text("#!/bin/sh\necho other\n")
    (tree / "new").write_text("x")
    (tree / "pkg" / "a b.py").unlink()
    (tree / "pkg" / "a b.py").mkdir()
    (tree / "start").unlink()
    result = client.upload_changes(tree, "synced", delete=True)
    assert (result.files, result.removed) == (2, 1)
    found = _run(client, "cd synced && find . -type d | sort && find . -type f | sort && cat run.sh")
    assert found.split("\n")[:-1] == [
        ".", "./pkg", "./pkg/a b.py", "./pkg/empty", "./new", "./run.sh", "#!/bin/sh", "echo other",
    ]  # fmt: skip


def test_sync_removes_nothing_when_it_fails(client: Client, tmp_path: Path) -> None:
    """What was to go, and what stands in the way, is there still when a file changes while it is read; then it goes."""
    (tmp_path / "d").write_text("a file now")
    (tmp_path / "log").write_text("x")
    for name in ("src/x", "src.txt", "d/kept"):
        client.write_file(f"failing/{name}", "precious")

    def write(done: int, total: int) -> None:
        (tmp_path / "log").write_text("longer")

    with pytest.raises(FileError, match="changed while it was read"):
        client.upload_changes(tmp_path, "failing", delete=True, on_progress=write)
    listed = "cd failing && find . -type f | sort"
    assert _run(client, listed).split() == ["./d/kept", "./src.txt", "./src/x"]
    client.upload_changes(tmp_path, "failing", delete=True)
    assert _run(client, listed).split() == ["./d", "./log"]


def test_a_file_that_shrinks_meanwhile_is_not_brought(client: Client, tmp_path: Path) -> None:
    """A file that is cut short while it is uploaded leaves the old one there, and is named."""
    client.write_file("shrinking", "old")
    local = tmp_path / "big"
    local.write_bytes(bytes(20_000_000))
    with pytest.raises(FileError, match="changed while it was read"):
        client.upload(local, "shrinking", on_progress=lambda done, total: os.truncate(local, 6_000_000))
    assert client.read_text("shrinking") == "old"


def test_sync_leaves_alone_what_is_excluded(client: Client, tmp_path: Path) -> None:
    """What .gitignore names is neither brought nor removed there."""
    (tmp_path / ".gitignore").write_text("cache/\n")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "here").write_text("x")
    client.upload_changes(tmp_path, "ignoring")
    client.write_file("ignoring/cache/there", "x")
    client.write_file("ignoring/stray", "x")
    assert client.upload_changes(tmp_path, "ignoring", delete=True).removed == 1
    assert _run(client, "cd ignoring && find . -type f | sort").split() == ["./.gitignore", "./cache/there"]


def test_sync_by_checksum_sees_what_times_hide(client: Client, tmp_path: Path) -> None:
    """A file with the size and the time of the one there, and other content, is brought by checksum alone."""
    (tmp_path / "f").write_text("aa")
    os.utime(tmp_path / "f", (1_000_000_000, 1_000_000_000))
    client.upload_changes(tmp_path, "sums")
    (tmp_path / "f").write_text("bb")
    os.utime(tmp_path / "f", (1_000_000_000, 1_000_000_000))
    assert client.upload_changes(tmp_path, "sums").files == 0
    assert client.upload_changes(tmp_path, "sums", checksum=True).files == 1
    assert client.read_text("sums/f") == "bb"


def test_a_transfer_makes_cached_results_old(client: Client, tmp_path: Path) -> None:
    """A command that read the file before is run again after the upload."""
    (tmp_path / "data").write_text("1")
    client.upload(tmp_path / "data")
    assert client.execute_command("cat data").stdout == "1"
    (tmp_path / "data").write_text("2")
    client.upload(tmp_path / "data")
    assert client.execute_command("cat data").stdout == "2"


def test_a_hostile_tree_stays_in_its_place(client: Client, tmp_path: Path) -> None:
    """Links out of the tree are named and not made; sockets and pipes are named too."""
    _run(client, "mkdir -p hostile && cd hostile && ln -s /etc/passwd a && ln -s ../../x b && mkfifo p && echo x > f")
    result = client.download("hostile", tmp_path / "got")
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["f"]
    assert len(result.left_out) == 3


def test_names_that_are_not_utf8_are_those_of_their_files(client: Client, tmp_path: Path) -> None:
    """What has one comes out, is found again by sync, and is named where it cannot be removed."""
    name, there = os.fsdecode(b"caf\xe9"), tmp_path / "there"
    _run(client, r"mkdir -p odd/below && cd odd && touch skip $'caf\351' $'below/\351'")
    client.download("odd", there, exclude=["skip"])
    assert sorted(os.listdir(there)) == ["below", name]  # noqa: PTH208  names are what is compared
    assert client.upload_changes(there, "odd").files == 0
    (there / name).unlink()
    (there / "below" / os.fsdecode(b"\xe9")).unlink()
    (there / "below").rmdir()
    result = client.upload_changes(there, "odd", delete=True)
    assert result.left_out == (f"{name} cannot be removed, since its name is not UTF-8",)
    assert (result.removed, _run(client, "ls -b odd")) == (3, "caf\\351\n")


def test_slips_are_one_clear_line(client: Client, tmp_path: Path) -> None:
    """What is not there, and what stands in the way, is named."""
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("x")
    client.write_file("file", "x")
    with pytest.raises(InvalidRequestError, match=r"There is nothing at .*missing on this machine"):
        client.upload(tmp_path / "missing")
    with pytest.raises(RemoteFileNotFoundError):
        client.download("missing", tmp_path)
    with pytest.raises(RemotePathError, match="file is a file"):
        client.upload(tmp_path / "d", "file")
    with pytest.raises(RemotePathError, match="file is a file"):
        client.upload_changes(tmp_path / "d", "file")
    with pytest.raises(InvalidRequestError, match="is no directory"):
        client.upload_changes(tmp_path / "f")
    with pytest.raises(FileError, match=r"Not a directory|File exists"):
        client.download("file", tmp_path / "f" / "below")
    with pytest.raises(FileError, match="'/root-only': read-only file system"):
        client.upload(tmp_path / "f", "/root-only")
