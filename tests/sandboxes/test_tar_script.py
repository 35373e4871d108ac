"""The commands that pack and unpack a tree, run by the bash of this machine: what they say, make and leave."""

from __future__ import annotations

import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2b_magic.sandboxes.tar_script import pack_script, unpack_scripts

_PATIENCE = 20.0


@contextmanager
def _running(script: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    command = ["bash", "-c", script]
    pipe, path = subprocess.PIPE, {"PATH": "/usr/local/bin:/usr/bin:/bin", **environment}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=path) as process:
        try:
            yield process
        finally:
            process.kill()


def _ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=_PATIENCE)
    return process.returncode, said


def _say(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _archive(path: Path) -> None:
    (path.parent / "f").write_text("content")
    with tarfile.open(path, "w") as archive:
        archive.add(path.parent / "f", "f")


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Gives the directory of the parts, which is not there yet."""
    return tmp_path / "parts"


def test_parts_come_into_a_closed_directory(tmp_path: Path, parts: Path) -> None:
    """Where the parts go is for nobody else before the first is asked for; then what they hold appears."""
    with _running(unpack_scripts(str(parts), str(tmp_path / "new"))[0]) as unpacking:
        assert _line(unpacking) == "ready\n"
        assert parts.stat().st_mode & 0o777 == 0o700
        _archive(parts / "0")
        _say(unpacking, "1 end\n")
        assert _ended(unpacking) == (0, "")
    assert (tmp_path / "new" / "f").read_text() == "content"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]


def test_a_part_takes_no_room_once_it_has_been_unpacked(tmp_path: Path, parts: Path) -> None:
    """What a part took of the disk is free again before the next one comes."""
    with _running(unpack_scripts(str(parts), str(tmp_path / "new"))[0]) as unpacking:
        assert _line(unpacking) == "ready\n"
        _archive(parts / "whole")
        content = (parts / "whole").read_bytes()
        (parts / "0").write_bytes(content[:1000])
        _say(unpacking, "1\n")
        deadline = time.monotonic() + _PATIENCE
        while (parts / "0").stat().st_size and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (parts / "0").stat().st_size == 0
        (parts / "1").write_bytes(content[1000:])
        _say(unpacking, "2 end\n")
        assert _ended(unpacking) == (0, "")
    assert (tmp_path / "new" / "f").read_text() == "content"


def test_unpacking_stops_though_tar_feels_no_signal(tmp_path: Path, parts: Path) -> None:
    """`stop` ends it also when the signal to tar was lost, as it is while tar is being started; nothing is left."""
    deaf = tmp_path / "bin" / "tar"
    deaf.parent.mkdir()
    deaf.write_text("#!/bin/bash\ntrap '' TERM\nexec cat > /dev/null\n")
    deaf.chmod(0o755)
    script = unpack_scripts(str(parts), str(tmp_path / "new"))[0]
    with _running(script, PATH=f"{deaf.parent}:/usr/bin:/bin") as unpacking:
        assert _line(unpacking) == "ready\n"
        _say(unpacking, "stop\n")
        assert _ended(unpacking) == (1, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin"]


@pytest.mark.parametrize("reading", ["cat > /dev/null", "true"], ids=["tar has all", "tar has a part"])
def test_unpacking_stops_after_the_last_part_too(tmp_path: Path, parts: Path, reading: str) -> None:
    """While all has been said and tar is still at work, `stop` ends it, and the tree does not appear."""
    slow = tmp_path / "bin" / "tar"
    slow.parent.mkdir()
    slow.write_text(f"#!/bin/sh\n{reading}\necho slow\nexec sleep 60\n")
    slow.chmod(0o755)
    script = unpack_scripts(str(parts), str(tmp_path / "new"))[0]
    with _running(script, PATH=f"{slow.parent}:/usr/bin:/bin") as unpacking:
        assert _line(unpacking) == "ready\n"
        (parts / "0").write_bytes(bytes(1_000_000))
        _say(unpacking, "1 end\n")
        assert _line(unpacking) == "slow\n"
        _say(unpacking, "stop\n")
        assert _ended(unpacking)[0] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_what_tar_refuses_is_told(tmp_path: Path, parts: Path) -> None:
    """A damaged archive fails with tar's own words, and leaves neither parts nor half a tree."""
    with _running(unpack_scripts(str(parts), str(tmp_path / "new"))[0]) as unpacking:
        _line(unpacking)
        (parts / "0").write_bytes(b"no archive" * 1000)
        _say(unpacking, "1 end\n")
        code, said = _ended(unpacking)
    assert code
    assert "does not look like a tar archive" in said
    assert all(line.startswith("tar:") for line in said.splitlines())
    assert not list(tmp_path.iterdir())


def test_what_tar_ends_with_is_always_told(tmp_path: Path, parts: Path) -> None:
    """However tar's end and that of the parts follow each other, its failure is never taken for a success.

    Many times, since which of its processes bash forgets when it is told of none is a matter of their order.
    """
    failing = tmp_path / "bin" / "tar"
    failing.parent.mkdir()
    failing.write_text("#!/bin/sh\ncat > /dev/null\nexit 3\n")
    failing.chmod(0o755)
    script = unpack_scripts(str(parts), str(tmp_path / "new"))[0]
    for _ in range(40):
        with _running(script, PATH=f"{failing.parent}:/usr/bin:/bin") as unpacking:
            _line(unpacking)
            (parts / "0").write_bytes(bytes(10_000))
            _say(unpacking, "1 end\n")
            assert _ended(unpacking) == (3, "")


def test_a_part_that_cannot_be_written_is_no_end(tmp_path: Path, parts: Path) -> None:
    """Where there is no room for a part, packing fails with what dd says of it."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "f").write_bytes(bytes(1_000_000))
    # The limit stands for a full disk; dd gets to hear of it as of that, by an error.
    script = f"trap '' XFSZ; ulimit -f 100\n{pack_script(str(parts), str(tree), 2, listed=False)}"
    with _running(script) as packing:
        code, said = _ended(packing)
    assert code
    assert "File too large" in said
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_what_is_listed_is_packed_and_nobody_else_reads_the_list(tmp_path: Path, parts: Path) -> None:
    """The list goes where the parts go, which is for nobody else, and the archive holds what it names."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("listed", "not listed"):
        (tree / name).write_text(name)
    with _running(pack_script(str(parts), str(tree), 2, listed=True)) as packing:
        assert _line(packing) == "ready\n"
        assert parts.stat().st_mode & 0o777 == 0o700
        (parts / "names").write_text("./listed\0")
        _say(packing, "\n")
        while _line(packing) != "part\n":
            pass
        with tarfile.open(parts / "0") as archive:
            assert archive.getnames() == ["./listed"]
        _say(packing, "\n")
        assert _ended(packing) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_what_takes_long_is_counted_meanwhile(tmp_path: Path, parts: Path) -> None:
    """How much there is is told once packing has taken a while, not before; who counts ends with it."""
    tree, slow = tmp_path / "tree", tmp_path / "bin" / "du"
    tree.mkdir()
    slow.parent.mkdir()
    (tree / "f").write_bytes(bytes(6_000_000))
    name = f"slow-du-{tmp_path.name}"
    slow.write_text(f"#!/bin/bash\necho '5 .'\nexec -a {name} sleep 60\n")
    slow.chmod(0o755)
    script = pack_script(str(parts), str(tree), 2, listed=False)
    with _running(script, PATH=f"{slow.parent}:/usr/bin:/bin") as packing:
        assert [_line(packing), _line(packing)] == ["part\n", "part\n"]
        time.sleep(2.1)
        _say(packing, "\n")
        assert {_line(packing), _line(packing)} == {"part\n", "5 .\n"}
        _say(packing, "\n" * 2)
        assert _ended(packing) == (0, "")
    assert subprocess.run(["pgrep", "-f", f"^{name}"], stdout=subprocess.PIPE, check=False).stdout == b""
