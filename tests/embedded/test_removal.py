"""Directories that a sandbox filled are removed whatever is in them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2b_magic.embedded.containment import identity
from e2b_magic.embedded.containment.removal import reclaim, remove_state
from e2b_magic.exceptions import EmbeddedServerError


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


@pytest.mark.slow
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


def test_a_removal_that_was_broken_off_is_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after any of its steps, a removal is done by the next one."""
    steps = 0

    def unless_killed(do: Callable[..., Any]) -> Callable[..., Any]:
        def step(*words: Any, **options: Any) -> Any:
            nonlocal steps
            steps -= 1
            if steps < 0:
                raise KeyboardInterrupt
            return do(*words, **options)

        return step

    for name in ("unlink", "rmdir", "rename"):
        monkeypatch.setattr(os, name, unless_killed(getattr(os, name)))
    state = tmp_path / "state"
    for allowed in range(12):
        (state / "home" / "a" / "b" / "c").mkdir(parents=True, exist_ok=True)
        (state / "home" / "a" / "b" / "file").touch()
        steps = allowed
        with contextlib.suppress(KeyboardInterrupt):  # it may have been the last one
            remove_state(state)
    steps = 1000
    remove_state(state)
    assert not state.exists()


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


def _name(number: int) -> str:
    return f"i{number:020x}"


def test_only_what_nobody_holds_is_reclaimed(tmp_path: Path) -> None:
    """A directory whose lock is held belongs to a living sandbox and stays; a preflight's is no exception."""
    held, left, trial = tmp_path / _name(1), tmp_path / _name(2), tmp_path / "preflight-ab_12345"
    for path in (held, left, trial):
        path.mkdir()
    descriptor = os.open(held, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert reclaim(tmp_path) == [left.name, trial.name]
    assert [path.name for path in tmp_path.iterdir()] == [held.name]
    os.close(descriptor)


def test_what_is_no_sandboxs_is_not_reclaimed(tmp_path: Path) -> None:
    """Files, links and directories of other names stay, with what is in them, and stop nothing."""
    states, outside = tmp_path / "states", tmp_path / "outside"
    (outside / "kept").mkdir(parents=True)
    (states / "thesis" / "chapter").mkdir(parents=True)
    (states / _name(1)).write_text("a file")
    (states / _name(2)).symlink_to(outside)
    (states / _name(3)).mkdir()
    assert reclaim(states) == [_name(3)]
    assert {path.name for path in states.iterdir()} == {"thesis", _name(1), _name(2)}
    assert (states / "thesis" / "chapter").is_dir()
    assert (outside / "kept").is_dir()


def test_a_link_to_another_place_is_no_place_to_reclaim(tmp_path: Path) -> None:
    """Where the sandboxes' directory is a link nothing is removed, whatever it is called, and the error says so."""
    outside = tmp_path / "outside" / _name(1)
    outside.mkdir(parents=True)
    (tmp_path / "states").symlink_to(outside.parent)
    with pytest.raises(EmbeddedServerError, match="is a link"):
        reclaim(tmp_path / "states")
    assert outside.is_dir()


_as_root = pytest.mark.root("only root gives sandboxes user ids of their own")


def _reclaimed_from(uid: int, states: Path) -> int | None:
    """Reclaims a directory of a user id's while a process runs by it; gives how the process ended, if it did."""
    state = states / _name(1)
    state.mkdir()
    os.chown(state, uid, uid)
    with subprocess.Popen(["sleep", "60"], user=uid, group=uid, extra_groups=[], cwd="/") as process:
        try:
            assert reclaim(states) == [state.name]
            return process.poll()
        finally:
            process.kill()


@_as_root
def test_what_still_runs_by_a_sandboxs_user_id_is_ended(tmp_path: Path) -> None:
    """A process that a killed server left in the middle of a start does not outlive its sandbox's directory."""
    uid = identity.choose(tmp_path / "none")
    assert uid is not None
    assert _reclaimed_from(uid.uid, tmp_path) == -signal.SIGKILL


@_as_root
def test_an_accounts_processes_are_never_ended(tmp_path: Path) -> None:
    """A directory that someone gave to an account does not cost that account its processes."""
    assert _reclaimed_from(pwd.getpwnam("nobody").pw_uid, tmp_path) is None


def test_the_user_ids_of_sandboxes_are_nobody_elses() -> None:
    """Neither root's id, nor an account's, nor one beyond the ranges counts as a sandbox's."""
    others = {0, os.geteuid(), 1000, 65534, *(account.pw_uid for account in pwd.getpwall())}
    assert not any(map(identity.is_given, others))
    assert identity.is_given(0x70000001)
