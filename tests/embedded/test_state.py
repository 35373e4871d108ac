"""A sandbox's directory: who may have it, and what is made in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from e2b_magic.embedded.containment import identity
from e2b_magic.embedded.containment.state import StateDirectory
from e2b_magic.exceptions import ConfigurationError


def test_it_is_its_owners_alone(tmp_path: Path) -> None:
    """The directory is closed to everybody else, whatever the umask, and what a sandbox writes lies in it."""
    before = os.umask(0)
    try:
        StateDirectory.open(tmp_path / "a" / "box").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "box").stat().st_mode) == 0o700
    assert {path.name for path in (tmp_path / "a" / "box").iterdir()} == {"home", "root", "tmp", "usr.up", "usr.wk"}
    assert stat.S_IMODE((tmp_path / "a" / "box" / "tmp").stat().st_mode) == 0o1777


def test_it_has_one_holder(tmp_path: Path) -> None:
    """A directory that is held is refused, and one that was let go of can be had again, by the same identity."""
    first = StateDirectory.open(tmp_path / "box")
    with pytest.raises(ConfigurationError, match=r"A sandbox is running in .*box"):
        StateDirectory.open(tmp_path / "box")
    first.close()
    again = StateDirectory.open(tmp_path / "box")
    assert again.identity == first.identity
    again.close()


def test_it_is_let_go_of_while_a_program_starts(tmp_path: Path) -> None:
    """What another thread starts has a copy of every descriptor for a moment: it does not hold the directory."""
    first = StateDirectory.open(tmp_path / "box")
    copy = os.dup(first.fileno())
    first.close()
    StateDirectory.open(tmp_path / "box").close()
    os.close(copy)


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    """Neither the directory nor one in it may be a link that someone put there."""
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="link"):
        StateDirectory.open(tmp_path / "link")
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "home").symlink_to(tmp_path / "target")
    with pytest.raises(ConfigurationError, match="home in the sandbox's directory is not a directory"):
        StateDirectory.open(tmp_path / "box")


@pytest.mark.root("an ordinary user's sandboxes have the user's own id")
def test_an_identity_is_nobodys(tmp_path: Path) -> None:
    """Root's sandboxes get ids far from any account's, each another."""
    chosen = {identity.choose(tmp_path / str(number)) for number in range(20)}
    assert len(chosen) == 20
    assert all(one is not None and one.uid >= 30_000 and not identity._has_account(one.uid) for one in chosen)
