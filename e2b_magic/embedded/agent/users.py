"""The two users of a sandbox, and where a path of theirs leads.

Both are the same user to the kernel; only their names and homes differ, as far as E2B's clients can tell.
"""

from __future__ import annotations

import os

from e2b_magic.embedded.agent.failures import Failure

HOMES = {"user": "/home/user", "root": "/root"}
# The kernel's names inside: the sandbox's own user, and everyone that the sandbox's user namespace does not know.
NAMES = {0: "root", 1000: "user", 65534: "nobody"}


def home_of(user: str) -> str:
    """Gives a user's home; `user` is who is meant when none is named.

    Raises:
        Failure: `unknown_user`.
    """
    try:
        return HOMES[user or "user"]
    except KeyError:
        raise Failure("unknown_user", f"invalid username: '{user}'") from None


def resolve(path: str, user: str) -> str:
    """Gives the absolute path that a user means: `~` and relative paths start at the user's home.

    Raises:
        Failure: `unknown_user`, or `invalid_argument` for a path that no file can have.
    """
    home = home_of(user)
    if "\0" in path:
        raise Failure("invalid_argument", "a path must not contain a NUL character")
    if path.startswith("~") and path[1:2] not in ("", "/"):
        raise Failure("invalid_argument", f"'{path}': only '~' and '~/…' are expanded, not another user's home")
    if path.startswith("~"):
        path = home + path[1:]
    # Not `normpath` alone: it keeps two leading slashes.
    return "/" + os.path.normpath(os.path.join(home, path)).lstrip("/")  # noqa: PTH118 - no pathlib: 9 ms
