"""What makes two commands the same: everything their output may depend on that can be known beforehand.

The sandbox's identity and the project's revision are part of it, so that a cached result dies with the sandbox it
came from, and with the first file written there through this package. What a command itself changes is not seen: that
is what `refresh` and `use_cache=False` are for.
"""

from __future__ import annotations

import hashlib
import json
import time

from e2b_magic.records import Project
from e2b_magic.worker.requests.commands import ExecuteCommand


def cache_key(request: ExecuteCommand, project: Project | None, backend: str) -> str | None:
    """Gives the key under which a request's result may be found, or None when none can be.

    The variables' values enter a SHA-256 over the whole and are to be found nowhere.

    Args:
        request: The command.
        project: What is known of its project.
        backend: Where commands go now.
    """
    if project is None or not project.sandbox_id or project.backend != backend:
        return None
    if project.sandbox_expires_at < time.time():
        return None
    parts = [
        request.command,
        request.cwd,
        sorted(request.envs.items()),
        request.user,
        request.stdin,
        request.template,
        request.project_id,
        backend,
        project.sandbox_id,
        project.revision,
    ]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()
