"""Background jobs as they were last seen: what a session that comes later knows of them without asking a sandbox."""

from __future__ import annotations

from typing import Final

from e2b_magic.records import BackgroundJob
from e2b_magic.store.keys import Keys
from e2b_magic.store.mapping import KeyValueStore
from e2b_magic.store.schema import Kind
from e2b_magic.store.values import background_job, decode, encode

LIFETIME: Final = 7 * 86400
"""How long a job is kept after it was last stored, in seconds."""
_PAGE: Final = 200


class Jobs:
    """One user's background jobs.

    Args:
        kv: Where they are kept.
        keys: Under which keys.

    Raises:
        StoreError: By every method, when the file cannot be read or written.
    """

    def __init__(self, kv: KeyValueStore, keys: Keys) -> None:
        self._kv = kv
        self._keys = keys

    def save(self, job: BackgroundJob) -> None:
        """Stores a job."""
        key = self._keys.job(job.project, job.id)
        self._kv.set(key, encode(job.to_json()), kind=Kind.RESULT, lifetime=LIFETIME)

    def of(self, project: str | None = None) -> list[BackgroundJob]:
        """Gives the jobs of a project, or all, the oldest first."""
        prefix, after = self._keys.job(project or ""), None
        found: list[BackgroundJob] = []
        while page := self._kv.page(prefix, limit=_PAGE, after=after):
            after = page[-1][0]
            found += filter(None, (decode(value, background_job) for _, value in page))
        return sorted(found, key=lambda job: (job.started_at, job.id))
