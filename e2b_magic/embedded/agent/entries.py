"""What is told of one file, as E2B's envd tells it.

Of a link, size, owner, time and the permission text are its own; type and mode are those of what it leads to;
`symlink_target` is the absolute path at its end, or its own path when it leads nowhere (e2b-dev/infra,
`packages/envd/internal/services/filesystem`).
"""

from __future__ import annotations

import os
import stat

from e2b_magic.embedded.agent.users import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

METADATA_PREFIX = "user.e2b."
# The years 1 to 9999, which is what the protocol's timestamps hold; a file may claim another.
_EARLIEST, _LATEST = -62135596800, 253402300799
# Go's letters (`io/fs.FileMode.String`), in Go's order.
_KINDS = {
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "L",
    stat.S_IFBLK: "D",
    stat.S_IFIFO: "p",
    stat.S_IFSOCK: "S",
    stat.S_IFCHR: "Dc",
}
_SPECIAL = ((stat.S_ISUID, "u"), (stat.S_ISGID, "g"), (stat.S_ISVTX, "t"))


def permissions(mode: int) -> str:
    """Gives a mode as Go prints it: `-rw-r--r--`, `drwxr-xr-x`, `Lrwxrwxrwx`, `dtrwxrwxrwx`."""
    kind = _KINDS.get(stat.S_IFMT(mode), "")
    special = "".join(letter for bit, letter in _SPECIAL if mode & bit)
    # Go puts the character device's letter after the set-id ones, and the sticky bit's last.
    if kind == "Dc":
        kind, special = "D", special.rstrip("t") + "c" + special[len(special.rstrip("t")) :]
    bits = "".join(letter if mode & (0o400 >> place) else "-" for place, letter in enumerate("rwxrwxrwx"))
    return (kind + special or "-") + bits


def kind(mode: int) -> str:
    """Gives `file`, `directory`, or `unknown` for what is neither."""
    if stat.S_ISREG(mode):
        return "file"
    return "directory" if stat.S_ISDIR(mode) else "unknown"


def metadata(path: str | int) -> dict[str, str]:
    """Gives the metadata that was set on a file; none where its file system keeps none."""
    try:
        names = [name for name in os.listxattr(path) if name.startswith(METADATA_PREFIX)]
        values = [os.getxattr(path, name) for name in names]
    except OSError:
        # No attributes on this file system, no right to read them, or gone meanwhile: all mean that there are none.
        return {}
    texts = [value.decode("utf-8", "replace") for value in values]
    return dict(zip([name.removeprefix(METADATA_PREFIX) for name in names], texts, strict=True))


def describe(path: str, status: os.stat_result | None = None) -> dict[str, Any]:
    """Gives the entry at a path.

    Args:
        path: An absolute path.
        status: What `lstat` told, where that is known.

    Raises:
        OSError: Nothing is there, or it may not be seen.
    """
    own = os.lstat(path) if status is None else status
    seen: os.stat_result | None = own
    target = None
    if stat.S_ISLNK(own.st_mode):
        target = os.path.realpath(path)
        try:
            seen = os.stat(target)  # noqa: PTH116 - no pathlib: 9 ms of every start
        except OSError:
            target, seen = path, None  # leads nowhere
    return {
        "name": path.rpartition("/")[2] or "/",
        "path": path,
        "type": kind(seen.st_mode) if seen else "unknown",
        "size": own.st_size,
        "mode": stat.S_IMODE(seen.st_mode) & 0o777 if seen else 0,
        "permissions": permissions(own.st_mode),
        "owner": NAMES.get(own.st_uid, str(own.st_uid)),
        "group": NAMES.get(own.st_gid, str(own.st_gid)),
        "modified_time": min(max(own.st_mtime, _EARLIEST), _LATEST),
        "symlink_target": target,
        "metadata": metadata(path) if seen else {},
    }
