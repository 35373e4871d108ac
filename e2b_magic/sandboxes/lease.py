"""A project's sandbox as it is held: the SDK's object, where it lives, and when it was last known to be alive."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from e2b import AsyncSandbox, Sandbox

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.sandboxes.connection import Connection
from e2b_magic.sandboxes.threads import in_own_thread


@dataclass(slots=True)
class Lease:
    """A project's sandbox, ready for use.

    Attributes:
        sandbox: The SDK's object.
        connection: Where it lives.
        project: The project's name.
        template: What it was made from.
        expires_at: When it ends unless extended, in seconds since the epoch.
        verified: When it was last seen alive, on the monotonic clock.
        used: When it was last used, on the monotonic clock.
        blocking: The SDK's synchronous object, once there is one.
    """

    sandbox: AsyncSandbox
    connection: Connection
    project: str
    template: str
    expires_at: float
    verified: float = field(default_factory=time.monotonic)
    used: float = field(default_factory=time.monotonic)
    blocking: Sandbox | None = None

    @property
    def sandbox_id(self) -> str:
        """The sandbox's id."""
        return self.sandbox.sandbox_id

    async def in_threads(self) -> Sandbox:
        """Gives the SDK's synchronous object, for threads."""
        if self.blocking is None:
            options = self.connection.options()
            self.blocking = await in_own_thread(lambda: Sandbox.connect(self.sandbox_id, **options))
        return self.blocking

    def check_template(self, template: str) -> None:
        """Refuses a request that means another template than the sandbox was made from.

        Raises:
            InvalidRequestError: The templates differ.
        """
        if template != self.template:
            raise InvalidRequestError(
                f"Project {self.project!r} has a sandbox of template {self.template!r}: kill it before "
                f"using {template!r}, or choose another project"
            )
