"""A user's sandboxes on a server, which are known by the metadata that they carry: made, counted and listed.

The metadata name the project, the user and the host, so that a sandbox is found again whatever became of the kernel
that made it. E2B keeps them with the sandbox and filters its list by them. Beside them stands the sandbox's origin: the
session and the store that asked for it, by which an orphan is known.
"""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from dataclasses import dataclass

from e2b import AsyncSandbox, SandboxException, SandboxInfo, SandboxQuery

from e2b_magic.config import Configuration
from e2b_magic.exceptions import InvalidRequestError, RateLimitError
from e2b_magic.sandboxes.connection import Connection
from e2b_magic.sandboxes.lease import Lease

TIMEOUT = 3600
"""How long a sandbox lives after its last use, in seconds: the most that E2B's hobby plan allows."""


def template_of(info: SandboxInfo) -> str:
    """Gives what a sandbox's project is said to be made from: what its metadata tell, else what the server does."""
    return info.metadata.get("e2b-magic-template") or info.name or info.template_id


@dataclass(frozen=True, slots=True)
class Wanted:
    """A sandbox that is to be made.

    Attributes:
        project: Its project's name.
        source: The template or snapshot that it is made from.
        template: The template that its project is said to have.
        timeout: How long it lives unless it is used, in seconds.
        origin: Who asks for it.
    """

    project: str
    source: str
    template: str
    timeout: int
    origin: str


class TaggedSandboxes:
    """The sandboxes of one user's projects on this host.

    Args:
        configuration: Whose they are, and how many there may be at once.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._counting = asyncio.Lock()

    async def create(self, connection: Connection, wanted: Wanted) -> Lease:
        """Makes a sandbox for a project.

        Raises:
            RateLimitError: The user has as many as are allowed.
            InvalidRequestError: There is no such template.
        """
        if self._configuration.sandbox_limit is None:
            return await self._create(connection, wanted)
        async with self._counting:
            await self._check_limit(connection, self._configuration.sandbox_limit)
            return await self._create(connection, wanted)

    async def _check_limit(self, connection: Connection, limit: int) -> None:
        pages = AsyncSandbox.list(query=SandboxQuery(metadata=self._tags(None)), **connection.options())
        count = 0
        while pages.has_next and count < limit:
            count += len(await pages.next_items())
        if count >= limit:
            raise RateLimitError(
                f"You have {count} sandboxes, which is all that you may have at once: kill one, as with "
                "`%e2b kill NAME`"
            )

    async def _create(self, connection: Connection, wanted: Wanted) -> Lease:
        project, source = wanted.project, wanted.source
        told = {"e2b-magic-template": wanted.template, "e2b-magic-origin": wanted.origin}
        try:
            sandbox = await AsyncSandbox.create(
                source,
                timeout=wanted.timeout,
                metadata=self._tags(project) | {name: text for name, text in told.items() if text},
                idempotency_key=str(uuid.uuid4()),  # the SDK itself repeats a create that was answered 502, 503 or 504
                **connection.options(),
            )
        except SandboxException as error:
            if error.status_code != 404:
                raise
            # A project keeps the name of what it was made from, which may be a snapshot that was deleted since.
            raise InvalidRequestError(
                f"There is no template or snapshot {source!r} (any more), which project {project!r} is made from: "
                f"`%e2b new {project} --template base` makes its sandbox from another"
            ) from None
        return Lease(sandbox, connection, project, wanted.template, time.time() + wanted.timeout)

    def _tags(self, project: str | None) -> dict[str, str]:
        """Gives the metadata by which a sandbox is known to be this project's; the host keeps two machines apart."""
        tags = {"e2b-magic-user": self._configuration.user, "e2b-magic-host": socket.gethostname()}
        return tags if project is None else {"e2b-magic-project": project, **tags}

    async def list(self, connection: Connection, project: str | None) -> list[SandboxInfo]:
        """Gives a project's sandboxes, or every project's, newest first."""
        pages = AsyncSandbox.list(query=SandboxQuery(metadata=self._tags(project)), **connection.options())
        found = []
        while pages.has_next:
            found += await pages.next_items()
        return found
