"""Archives as a sandbox may make them, the hostile ones first: what is written, and what never is."""

from __future__ import annotations

import io
import itertools
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from e2b_magic.client.trees import scanning
from e2b_magic.client.trees.packing import pack, pieces_of
from e2b_magic.client.trees.placing import Habits, habits_of
from e2b_magic.client.trees.scanning import Exclusions, Finding, scan
from e2b_magic.client.trees.unpacking import Unpacking
from e2b_magic.exceptions import FileError
from e2b_magic.worker.requests.transfers import CHUNK, PIECE

Member = tuple[str, dict[str, Any]]


def _archive(members: Iterable[Member]) -> io.BytesIO:
    """Gives an archive of members with these names and properties; a `text` is a file's content."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, properties in members:
            content = properties.pop("text", "").encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in properties.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))
    return io.BytesIO(written.getvalue())


def _files(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture(params=["new", "there"])
def destination(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Gives a place to unpack to: one that is not there yet, and one that is."""
    path = tmp_path / "inner" / "tree"
    path.parent.mkdir()
    if request.param == "there":
        path.mkdir()
    return path


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "a/b/../../../evil"])
def test_a_name_that_leads_out_refuses_the_archive(destination: Path, name: str) -> None:
    """No file appears outside, and the error names the entry."""
    with pytest.raises(FileError, match="may lead out of"):
        Unpacking(destination).unpack(_archive([(name, {"text": "x"})]))
    assert not list(destination.parent.parent.rglob("evil"))


@pytest.mark.parametrize("name", ["/evil", "d/..", "d/", "d/../../evil"])
def test_a_name_is_looked_at_beside_others_too(destination: Path, name: str) -> None:
    """What leads out, or names no file, is refused also after files that have gone to the same directory."""
    members: list[Member] = [("f", {"text": "x"}), ("d/f", {"text": "x"}), (name, {"text": "evil"})]
    with pytest.raises(FileError):
        Unpacking(destination).unpack(_archive(members))
    assert not list(destination.parent.parent.rglob("evil"))


def test_a_link_that_leads_out_is_not_made(destination: Path) -> None:
    """Absolute links and those with too many `..` are left out and named; those inside are made."""
    links = [
        ("out", "/etc/passwd"),
        ("up", "../../x"),
        ("d/in", "../f"),
        ("f2", "f"),
        ("s/s/s", "../.."),
        ("w", "s/s/s/../x"),
    ]
    members: list[Member] = [
        ("f", {"text": "x"}),
        *((name, {"type": tarfile.SYMTYPE, "linkname": to}) for name, to in links),
    ]
    unpacking = Unpacking(destination)
    unpacking.unpack(_archive(members))
    assert _files(destination) == {"d/in": "../f", "f": "x", "f2": "f", "s/s/s": "../.."}
    assert [line.split()[0] for line in unpacking.left_out] == ["out", "up", "w"]


def test_no_link_is_made_through_one_that_was_there(tmp_path: Path) -> None:
    """A link of the user's own that leads out of the destination is no way out for the archive's links."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "mine").symlink_to(tmp_path)
    unpacking = Unpacking(tmp_path / "tree")
    unpacking.unpack(_archive([("theirs", {"type": tarfile.SYMTYPE, "linkname": "mine/secret"})]))
    assert [path.name for path in (tmp_path / "tree").iterdir()] == ["mine"]
    assert len(unpacking.left_out) == 1


def test_a_path_without_end_is_refused(destination: Path) -> None:
    """A name of two thousand directories, and one far below others, are one clear line and leave nothing."""
    deep = "d/" * 190
    for names in ([f"{'d/' * 2000}f"], [deep, f"{deep}{'e/' * 190}f"]):
        with pytest.raises(FileError, match="deeper than 200 directories"):
            Unpacking(destination).unpack(_archive([(name, {"type": tarfile.DIRTYPE}) for name in names]))
    assert not [path for path in destination.parent.iterdir() if path != destination]


def test_a_new_tree_has_its_own_mode(tmp_path: Path) -> None:
    """A directory that only its owner may read is that here too."""
    Unpacking(tmp_path / "tree").unpack(_archive([("./", {"type": tarfile.DIRTYPE, "mode": 0o700})]))
    assert (tmp_path / "tree").stat().st_mode & 0o777 == 0o700


def test_nothing_is_written_through_a_link(destination: Path, tmp_path: Path) -> None:
    """A link in the archive, then a file through it: refused, wherever the link may lead."""
    members: list[Member] = [
        ("sub", {"type": tarfile.DIRTYPE}),
        ("d", {"type": tarfile.SYMTYPE, "linkname": "sub"}),
        ("d/f", {"text": "x"}),
    ]
    with pytest.raises(FileError, match="is a link"):
        Unpacking(destination).unpack(_archive(members))


def test_nothing_is_written_through_a_link_that_was_there(tmp_path: Path) -> None:
    """A link of the user's own in the destination is not followed either."""
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    outside.mkdir()
    tree.mkdir()
    (tree / "d").symlink_to(outside)
    with pytest.raises(FileError, match="is a link"):
        Unpacking(tree).unpack(_archive([("d/f", {"text": "x"})]))
    assert not list(outside.iterdir())


def test_a_file_takes_the_place_of_a_link(tmp_path: Path) -> None:
    """A link under the file's own name is replaced, and what it led to stays as it is."""
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    outside.write_text("mine")
    tree.mkdir()
    (tree / "f").symlink_to(outside)
    Unpacking(tree).unpack(_archive([("f", {"text": "x"})]))
    assert (outside.read_text(), (tree / "f").read_text()) == ("mine", "x")


def test_devices_and_pipes_are_left_out(destination: Path) -> None:
    """What is neither file, directory nor link is named and not made; a setuid bit is not kept."""
    members: list[Member] = [
        ("pipe", {"type": tarfile.FIFOTYPE}),
        ("disk", {"type": tarfile.BLKTYPE, "devmajor": 8, "devminor": 0}),
        ("run", {"text": "#!/bin/sh", "mode": 0o4755}),
    ]
    unpacking = Unpacking(destination)
    unpacking.unpack(_archive(members))
    assert _files(destination) == {"run": "#!/bin/sh"}
    assert (destination / "run").stat().st_mode & 0o7777 == 0o755
    assert len(unpacking.left_out) == 2


def test_a_name_that_comes_twice_writes_nothing_strange(tmp_path: Path) -> None:
    """In a new tree, a link and then a file of the same name: the file is not written where the link leads."""
    outside = tmp_path / "outside"
    link = {"type": tarfile.SYMTYPE, "linkname": "g"}
    members: list[Member] = [("f", link), ("f", {"text": "x"})]
    with pytest.raises(FileError):
        Unpacking(tmp_path / "tree").unpack(_archive(members))
    assert not outside.exists()
    assert not (tmp_path / "tree").exists()


def test_a_broken_archive_leaves_a_new_tree_out(tmp_path: Path) -> None:
    """An archive that ends in the middle is one clear line; neither half a tree nor a hidden one stays."""
    whole = _archive([("a", {"text": "x" * 2000}), ("b", {"text": "y" * 2000})]).getvalue()
    with pytest.raises(FileError, match="damaged"):
        Unpacking(tmp_path / "tree").unpack(io.BytesIO(whole[:1500]))
    assert not list(tmp_path.iterdir())


def test_a_broken_archive_leaves_the_old_file(tmp_path: Path) -> None:
    """A file that was there stays as it was until the new one is whole."""
    (tmp_path / "a").write_text("old")
    whole = _archive([("a", {"text": "x" * 2000})]).getvalue()
    with pytest.raises(FileError):
        Unpacking(tmp_path).unpack(io.BytesIO(whole[:1500]))
    assert _files(tmp_path) == {"a": "old"}


def test_a_tree_survives_packing_and_unpacking(tmp_path: Path) -> None:
    """Names of any kind and length, modes, times, links and empty directories come through."""
    root = tmp_path / "root"
    deep = root / ("d" * 90) / ("e" * 90)
    deep.mkdir(parents=True)
    (root / "empty").mkdir()
    (deep / ("ü n\n" + "x" * 150)).write_text("content")
    (root / "run.sh").write_text("#!/bin/sh")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("run.sh")
    tree = scan(root)
    chunks = itertools.chain.from_iterable(pack(root, tree.entries))
    unpacking = Unpacking(tmp_path / "copy")
    unpacking.unpack(io.BytesIO(b"".join(chunks)))
    assert _files(tmp_path / "copy") == _files(root)
    # An archive holds whole seconds, and a link's own time is not kept.
    here, there = (
        [(e.name, e.type, e.mode, e.type == "link" or int(e.modified_at)) for e in one.entries]
        for one in (tree, scan(tmp_path / "copy"))
    )
    assert here == there


def test_the_first_piece_comes_soon(tmp_path: Path) -> None:
    """A file is cut into pieces that grow up to the largest there may be, each in chunks."""
    content = bytes(range(256)) * (10 * 4096)
    (tmp_path / "file").write_bytes(content)
    pieces = list(pieces_of(str(tmp_path / "file"), len(content)))
    assert b"".join(itertools.chain.from_iterable(pieces)) == content
    assert [sum(map(len, piece)) for piece in pieces] == [PIECE // 4, PIECE // 2, PIECE, 3 * PIECE // 4]
    assert {len(chunk) for piece in pieces for chunk in piece} == {CHUNK}


def test_what_is_found_first_is_carried_at_once(tmp_path: Path) -> None:
    """For the first moment nothing is looked for before it is given, and at the end it is known how large all are."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(bytes(1000))
    finding = Finding(tmp_path, Exclusions())
    assert [(entry.name, len(finding.tree.entries)) for entry in finding] == [("a", 1), ("b", 2), ("c", 3)]
    assert finding.size == 3000


def test_a_tree_is_carried_while_it_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After that more is found for each that is given, the more the larger it is, until all that there is is known."""
    monkeypatch.setattr(scanning, "_SOON", 0.0)
    for name in ("a", "b", "c", "d", "e", "f"):
        (tmp_path / name).write_bytes(bytes(10_000 if name == "b" else 1000))
    finding = Finding(tmp_path, Exclusions())
    entries = iter(finding)
    assert (next(entries).name, len(finding.tree.entries), finding.size) == ("a", 1, 0)
    assert (next(entries).name, len(finding.tree.entries), finding.size) == ("b", 3, 0)
    assert (next(entries).name, len(finding.tree.entries), finding.size) == ("c", 6, 0)
    assert (next(entries).name, finding.size) == ("d", 15_000)
    assert [entry.name for entry in entries] == ["e", "f"]
    assert finding.tree.entries == scan(tmp_path).entries


def test_gitignore_files_hold_where_they_lie(tmp_path: Path) -> None:
    """Inner files override outer ones, as with git; `.git` is left out, and a pattern of one's own too."""
    for name, text in {
        ".gitignore": "*.log\nbuild/\n",
        "a.log": "", "b.txt": "", "build/x": "", "sub/.gitignore": "!keep.log\n", "sub/keep.log": "", "sub/c.log": "",
        ".git/config": "", "data.bin": "",
    }.items():  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    found = {entry.name for entry in scan(tmp_path, Exclusions(["*.bin"], gitignore=True)).entries}
    assert found == {".gitignore", "b.txt", "sub", "sub/.gitignore", "sub/keep.log"}


def test_what_cannot_be_brought_is_named(tmp_path: Path) -> None:
    """A pipe in the tree is left out with a line that names it."""
    import os

    os.mkfifo(tmp_path / "pipe")
    tree = scan(tmp_path)
    assert tree.entries == []
    assert tree.left_out == ["pipe is neither file, directory nor link"]


def test_a_file_that_changes_meanwhile_is_named(tmp_path: Path) -> None:
    """A file that grew between the look and the reading breaks the transfer off, not the archive."""
    (tmp_path / "log").write_text("x")
    tree = scan(tmp_path)
    (tmp_path / "log").write_text("longer")
    with pytest.raises(FileError, match="changed while it was read"):
        list(pack(tmp_path, tree.entries))


def test_tarfile_reads_what_is_packed(tmp_path: Path) -> None:
    """The headers that are written here are those of a tar archive to others too: names, modes, times, targets."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "ü").write_bytes(b"x" * 1000)
    (tmp_path / "d" / "ü").chmod(0o751)
    (tmp_path / ("n" * 120)).symlink_to("t" * 120)
    tree = scan(tmp_path)
    chunks = itertools.chain.from_iterable(pack(tmp_path, tree.entries))
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        found = [(one.name, one.mode, one.mtime, one.linkname, one.size) for one in archive.getmembers()]
    assert found == [(e.name, e.mode, int(e.modified_at), e.target, e.size) for e in tree.entries]


def test_names_that_a_file_system_takes_for_one_are_kept_apart(
    destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where case does not count, as on macOS, the first of two names stays whole and the second is named."""
    monkeypatch.setattr("e2b_magic.client.trees.unpacking.habits_of", lambda directory: Habits(folds_names=True))
    members: list[Member] = [
        ("D/Readme", {"text": "first"}),
        ("d/README", {"text": "second"}),
        ("d/other", {"text": "x"}),
    ]
    unpacking = Unpacking(destination)
    unpacking.unpack(_archive(members))
    assert _files(destination)["D/Readme"] == "first"
    assert unpacking.left_out == ["d/README and D/Readme have the same name on this file system"]
    assert unpacking.files == 2


def test_this_file_system_tells_case_apart(tmp_path: Path) -> None:
    """The look at the file system leaves nothing behind."""
    assert habits_of(tmp_path).folds_names is (tmp_path.with_name(tmp_path.name.swapcase())).exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "content"),
    [
        (slice(0, 1), b"\0"),
        (slice(124, 136), b"\x80" + b"\xff" * 11),
        (slice(124, 136), b"\xff" * 12),
        (slice(136, 148), b"\x80" + b"\xff" * 11),
        (slice(136, 148), b"x" * 12),
        (slice(156, 157), b"x"),
    ],
    ids=[
        "a sum",
        "a size beyond all disks",
        "a size below nothing",
        "a time beyond all clocks",
        "no number",
        "another format's header",
    ],
)
def test_a_damaged_header_is_one_clear_line(tmp_path: Path, field: slice, content: bytes) -> None:
    """What cannot be meant ends the unpacking, and neither a traceback nor a file comes of it."""
    whole = bytearray(_archive([("name", {"text": "x"})]).getvalue())
    whole[field] = content
    if field.start:
        whole[148:156] = b"%06o\0 " % (sum(whole[:148]) + sum(whole[156:512]) + 256)
    with pytest.raises(FileError, match="damaged"):
        Unpacking(tmp_path / "tree").unpack([bytes(whole)])
    assert not list(tmp_path.iterdir())


def test_an_archive_without_end_is_not_awaited(tmp_path: Path) -> None:
    """A sandbox that goes on sending after the end is told so, and the tree is not there."""
    zeros = itertools.repeat(bytes(100_000))
    with pytest.raises(FileError, match="goes on after its end"):
        Unpacking(tmp_path / "tree").unpack(itertools.chain(_archive([("a", {"text": "x"})]), zeros))
    assert not list(tmp_path.iterdir())
