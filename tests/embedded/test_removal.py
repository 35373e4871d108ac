"""Directories that a sandbox filled are removed whatever is in them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from e2b_magic.embedded.containment.removal import reclaim, remove_state


def _nest(top: Path, depth: int) -> None:
    """Nests directories deeper than a path can be long, each with a file in it."""
    descriptor = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.close(os.open("file", os.O_CREAT, 0o600, dir_fd=descriptor))
        os.mkdir("d" * 200, dir_fd=descriptor)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


def test_a_tree_of_any_depth_goes(tmp_path: Path) -> None:
    """Three thousand levels, past every limit of paths and stacks, are removed."""
    state = tmp_path / "state"
    state.mkdir()
    _nest(state, 3000)
    remove_state(state)
    assert not state.exists()


def test_closed_directories_go(tmp_path: Path) -> None:
    """Directories that nobody may enter or change are removed, with what is in them."""
    inner = tmp_path / "state" / "home" / "closed"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    inner.chmod(0o000)
    inner.parent.chmod(0o500)
    remove_state(tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A symbolic link goes, and what it leads to stays as it is."""
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o751)
    (outside / "file").touch()
    state = tmp_path / "state"
    (state / "deep").mkdir(parents=True)
    (state / "link").symlink_to(outside)
    (state / "deep" / "link").symlink_to(outside / "file")
    remove_state(state)
    assert not state.exists()
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert outside.stat().st_mode & 0o777 == 0o751


def test_a_directory_that_is_a_link_is_left(tmp_path: Path) -> None:
    """A link in the place of the directory itself is not followed either."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        remove_state(tmp_path / "state")
    assert (tmp_path / "outside").is_dir()


def test_what_is_not_there_needs_no_removal(tmp_path: Path) -> None:
    """Removing a directory that does not exist is no mistake."""
    remove_state(tmp_path / "never")


def test_only_what_nobody_holds_is_reclaimed(tmp_path: Path) -> None:
    """A directory whose lock is held belongs to a living sandbox and stays."""
    held, left = tmp_path / "held", tmp_path / "left"
    held.mkdir()
    left.mkdir()
    descriptor = os.open(held, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert reclaim(tmp_path) == ["left"]
    assert [path.name for path in tmp_path.iterdir()] == ["held"]
    os.close(descriptor)
