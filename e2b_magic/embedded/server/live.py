"""A sandbox that runs, and all that belongs to it as long as it does."""

from __future__ import annotations

import asyncio

from e2b_magic.embedded.egress.gateway import Gateway
from e2b_magic.embedded.egress.proxy import Egress
from e2b_magic.embedded.sandbox.sandbox import Sandbox
from e2b_magic.embedded.server.envd import Envd
from e2b_magic.embedded.server.network import policy_of
from e2b_magic.embedded.server.record import Record
from e2b_magic.embedded.server.running import Processes


class LiveSandbox:
    """A running sandbox; or one that is frozen, and goes on as it is.

    Args:
        record: What it is.
        contained: The sandbox itself.
        gateway: How it leaves this machine.

    Attributes:
        id: Its id.
        record: As given.
        contained: As given.
        processes: The processes that clients started in it.
        envd: Its server.
        egress: Its way out.
        connections: The open connections that requests to it came over.
        timer: Sees to it when its time is over.
        deadline: When that is, by the loop's clock.
        ending: Its end, once that has begun.
    """

    def __init__(self, record: Record, contained: Sandbox, gateway: Gateway) -> None:
        self.id = record.id
        self.record = record
        self.contained = contained
        self.processes = Processes(contained, record.log)
        self.envd = Envd(contained, self.processes, record.token)
        policy = policy_of(record.creation.network, record.creation.allow_internet_access)
        self.egress = Egress(contained, gateway, policy)
        self.connections: set[asyncio.Transport] = set()
        self.timer: asyncio.TimerHandle | None = None
        self.deadline = 0.0
        self.ending: asyncio.Task[None] | None = None

    def abandon(self) -> None:
        """Lets go of its processes and of its way out, its end being near."""
        self.processes.abandon()
        self.egress.close()
