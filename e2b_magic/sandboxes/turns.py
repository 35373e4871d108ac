"""One process of this machine at a time, by a lock file: the first makes a sandbox, those behind it find that one."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from filelock import AsyncFileLock, Timeout

from e2b_magic.exceptions import BackendError

PATIENCE = 120
"""How long to wait for another process that is starting the same project's sandbox, in seconds."""


@asynccontextmanager
async def first_among_processes(directory: Path, backend: str, user: str, project: str) -> AsyncIterator[None]:
    """Lets one process of this machine at a time look for a project's sandbox, or make it.

    Args:
        directory: Where the lock files lie.
        backend: Where the sandbox is.
        user: Whose it is.
        project: Its project.

    Raises:
        BackendError: Another process has been at it for `PATIENCE`.
    """
    name = hashlib.sha256(f"{backend}\0{user}\0{project}".encode()).hexdigest()[:32]
    path = directory / f"{name}.lock"
    lock = AsyncFileLock(str(path), timeout=PATIENCE)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        await lock.acquire()
    except Timeout:
        raise BackendError(
            f"Another process has been starting the sandbox of project {project!r} for {PATIENCE} s: "
            "wait for it, or end it"
        ) from None
    except OSError:
        # A home that cannot be written. Then two processes may make a sandbox each, which is better than none:
        # both carry the project's metadata, and `kill` ends both.
        yield
        return
    try:
        yield
    finally:
        await lock.release()
