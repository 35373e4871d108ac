"""The walk that adds a sandbox's files up: as root and as an ordinary user, in trees that are made to mislead it."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2b_magic.embedded.containment.removal import remove_state
from e2b_magic.embedded.containment.state import WRITABLE
from e2b_magic.embedded.sandbox import disk_usage as module
from e2b_magic.embedded.sandbox.disk_usage import HELD, UnmeasurableError, disk_usage

_SOMEBODY = 45_678
_PR_SET_DUMPABLE = 4
_MEGABYTE = 1_000_000


@contextmanager
def _ordinary_user() -> Iterator[None]:
    """Lets the process be an ordinary user for a while, if it is root; threads of it are that too."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(_SOMEBODY)
    os.seteuid(_SOMEBODY)
    # The kernel shows /proc/self to root alone after such a change, which a user's own process does not meet.
    assert ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """Gives a state directory, of a user's own where the tests run as root."""
    top = tmp_path / "state"
    for name in WRITABLE:
        (top / name).mkdir(parents=True)
    _give_away(top)
    yield top
    remove_state(top)  # pytest cannot remove what is so deep


def _give_away(path: Path) -> None:
    if os.geteuid() == 0:
        for directory, directories, files in os.walk(path):
            for name in (".", *directories, *files):
                os.lchown(f"{directory}/{name}", _SOMEBODY, _SOMEBODY)


@pytest.fixture(params=["root", "ordinary"])
def used(request: pytest.FixtureRequest, state: Path) -> Callable[[], int]:
    """Gives a function that measures the state directory, as root and as the ordinary user that owns it."""
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("only root can measure as root")

    def measure() -> int:
        descriptor = os.open(state, os.O_RDONLY)
        try:
            if request.param == "root":
                return disk_usage(descriptor)
            with _ordinary_user():
                return disk_usage(descriptor)
        finally:
            os.close(descriptor)

    return measure


def _chain(top: Path, depth: int) -> None:
    """Makes directories one in the other, deeper than a path can tell."""
    directory = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=directory)
        if os.geteuid() == 0:
            os.chown("d", _SOMEBODY, _SOMEBODY, dir_fd=directory)
        below = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    descriptor = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=directory)
    os.write(descriptor, bytes(_MEGABYTE))
    os.close(descriptor)
    os.close(directory)


@pytest.mark.parametrize("mode", [0o000, 0o200, 0o300, 0o400, 0o600, 0o100, 0o077])
def test_a_directory_that_is_shut_is_counted_and_stays_shut(mode: int, state: Path, used: Callable[[], int]) -> None:
    """Whatever a directory forbids its owner, its files count; its mode and those of others are as they were."""
    before = used()
    shut = state / "home" / "shut" / "deeper"
    shut.mkdir(parents=True)
    (shut / "file").write_bytes(bytes(_MEGABYTE))
    _give_away(state / "home")
    shut.chmod(mode)
    shut.parent.chmod(mode)
    assert _MEGABYTE <= used() - before < 1.1 * _MEGABYTE
    assert stat.S_IMODE(shut.parent.stat().st_mode) == mode
    shut.parent.chmod(0o700)
    assert stat.S_IMODE(shut.stat().st_mode) == mode


def test_no_depth_is_too_deep(state: Path, used: Callable[[], int]) -> None:
    """A tree of three thousand levels is counted to its end, with few descriptors."""
    _chain(state / "home", 3000)
    held: set[int] = set()
    real = module._identity

    def count(descriptor: int) -> tuple[int, int]:
        held.add(descriptor)
        return real(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_identity", count)
        assert used() >= _MEGABYTE + 3000 * 4096
    assert len(held) < HELD + 10


def test_links_and_second_names_are_not_counted_twice(state: Path, used: Callable[[], int], tmp_path: Path) -> None:
    """A file counts once whatever its names, and what a link leads to not at all."""
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "big").write_bytes(bytes(5 * _MEGABYTE))
    before = used()
    (state / "home" / "file").write_bytes(bytes(_MEGABYTE))
    (state / "tmp" / "second").hardlink_to(state / "home" / "file")
    (state / "home" / "link").symlink_to(outside)
    (state / "home" / "link-to-file").symlink_to(outside / "big")
    assert _MEGABYTE <= used() - before < 1.1 * _MEGABYTE


def test_what_moves_away_beneath_the_walk_is_noticed(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that is elsewhere when the walk comes up from it leads it nowhere else: it begins again."""
    _chain(state / "home", HELD + 20)
    (state / "tmp" / "elsewhere").mkdir()
    deep = state / "home" / Path(*["d"] * (HELD + 10))
    moved = [deep, state / "tmp" / "elsewhere" / "d"]
    real = module._parent
    tries: list[int] = []

    def move_and_go_up(directory: int, identity: tuple[int, int]) -> int:
        if len(tries) < 1 and os.fstat(directory).st_ino == moved[0].stat().st_ino:
            tries.append(directory)
            moved[0].rename(moved[1])
        return real(directory, identity)

    monkeypatch.setattr(module, "_parent", move_and_go_up)
    descriptor = os.open(state, os.O_RDONLY)
    try:
        assert disk_usage(descriptor) >= _MEGABYTE + (HELD + 20) * 4096
        assert len(tries) == 1

        def never_there(directory: int, identity: tuple[int, int]) -> int:
            return real(directory, (0, 0))

        _chain(state / "root", HELD + 20)
        monkeypatch.setattr(module, "_parent", never_there)
        with pytest.raises(UnmeasurableError, match="moved about"):
            disk_usage(descriptor)
    finally:
        os.close(descriptor)


def test_more_directories_than_can_be_kept_in_mind(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk has a bound on what it remembers, past which the files count as too much."""
    monkeypatch.setattr(module, "MOST_PENDING", 10)
    for number in range(11):
        (state / "home" / str(number)).mkdir()
    descriptor = os.open(state, os.O_RDONLY)
    try:
        with pytest.raises(UnmeasurableError, match="more than 10 directories"):
            disk_usage(descriptor)
    finally:
        os.close(descriptor)


def test_a_mode_that_was_changed_meanwhile_is_left(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sandbox makes of a directory while it is opened up is not undone."""
    shut = state / "home" / "shut"
    shut.mkdir()
    (shut / "inside").touch()
    _give_away(state / "home")
    real = module._Walk._add

    def add(walk: module._Walk, entry: os.DirEntry[str], level: module._Level) -> None:
        if entry.name == "inside":
            os.fchmod(held, 0o711)
        real(walk, entry, level)

    monkeypatch.setattr(module._Walk, "_add", add)
    held, descriptor = os.open(shut, os.O_RDONLY), os.open(state, os.O_RDONLY)
    shut.chmod(0o000)
    try:
        with _ordinary_user():
            disk_usage(descriptor)
    finally:
        os.close(descriptor)
        os.close(held)
    assert stat.S_IMODE(shut.stat().st_mode) == 0o711
