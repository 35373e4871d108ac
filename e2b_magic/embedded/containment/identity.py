"""The user ids that a daemon of root's gives its sandboxes to: one each, that no account and no other sandbox has.

As root, whatever the flags, a sandbox's process would be the host's root to the kernel: it could write
`/proc/sys/kernel/core_pattern`, and no limit on processes would hold it.
"""

from __future__ import annotations

import os
import pwd
import secrets
from dataclasses import dataclass
from pathlib import Path

from e2b_magic.exceptions import ContainmentError

# systemd's table of user ids (systemd.io/UIDS-GIDS) leaves 1,879,048,192 to 2,147,352,575 to nobody.
_PREFERRED = range(0x70000000, 0x71000000)
# Where only a part of the ids exists, as in a rootless container: above accounts, below systemd's dynamic users.
_NARROW = range(30_000, 60_000)


@dataclass(frozen=True, slots=True)
class Identity:
    """A user and group id of the host's that nothing else runs as."""

    uid: int

    @property
    def gid(self) -> int:
        """The group's id: the same number."""
        return self.uid


def _exist(ids: range) -> bool:
    lines = [line.split() for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()]
    return any(int(inside) <= ids.start and ids.stop <= int(inside) + int(count) for inside, _, count in lines)


def _usable() -> range:
    for ids in (_PREFERRED, _NARROW):
        if _exist(ids):
            return ids
    raise ContainmentError(
        "This user namespace maps too few user ids for a sandbox to have one of its own.",
        "Run as an ordinary user instead of root, or map the ids up to 60,000.",
    )


def _has_account(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def is_given(uid: int) -> bool:
    """Whether a user id is one that sandboxes are given: never root's, and no account's."""
    return any(uid in ids for ids in (_PREFERRED, _NARROW)) and not _has_account(uid)


def choose(directory: Path) -> Identity | None:
    """Gives the identity for the sandbox whose state this directory holds; None where the daemon is not root's.

    Args:
        directory: The state directory; one that exists keeps the identity that it has.

    Raises:
        ContainmentError: There are no ids to choose from.
    """
    if os.geteuid() != 0:
        return None
    ids = _usable()
    if directory.exists() and (owner := directory.lstat().st_uid) in ids:
        return Identity(owner)
    while True:
        # By chance out of many: a table of those in use would have to outlive the daemon, as paused sandboxes do.
        uid = ids.start + secrets.randbelow(len(ids))
        if not _has_account(uid):
            return Identity(uid)
