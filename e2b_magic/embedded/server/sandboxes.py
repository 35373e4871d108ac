"""The sandboxes that are alive, from their creation to their end.

`Sandboxes` is the register. A sandbox ends in one of three ways: a client kills it, its time is over, or it dies by
itself; all three go through `end`, once. It first leaves the register, so that its health is answered with "not
found"; then its open connections are reset; then everything in it is killed and its files are removed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.containment.removal import remove_state
from e2b_magic.embedded.egress.gateway import Gateway
from e2b_magic.embedded.egress.proxy import Egress, proxy_variables
from e2b_magic.embedded.sandbox.sandbox import Sandbox
from e2b_magic.embedded.server.blocking import in_thread
from e2b_magic.embedded.server.connections import reset
from e2b_magic.embedded.server.creation import Creation
from e2b_magic.embedded.server.envd import Envd
from e2b_magic.embedded.server.network import policy_of
from e2b_magic.embedded.server.pool import Pool
from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.running import Processes
from e2b_magic.embedded.server.templates import Templates
from e2b_magic.embedded.server.tokens import new_access_token
from e2b_magic.exceptions import ContainmentError

# How long the answer to a creation is kept for a client that asks again with the same key, in seconds. The SDK
# repeats a request within a minute or so; ten give slow ones room.
_IDEMPOTENCY_SECONDS = 600.0

_log = logging.getLogger(__name__)


class LiveSandbox:
    """A sandbox and all that belongs to it.

    Attributes:
        id: Its id.
        creation: What its client asked for.
        token: Opens what goes on inside it.
        traffic_token: Opens its ports, where they are not public.
        started_at: Seconds since the epoch.
        ends_at: When it ends unless extended, in seconds since the epoch.
        contained: The sandbox itself.
        processes: The processes that clients started in it.
        envd: Its server.
        egress: Its way out.
        connections: The open connections that requests to it came over.
        timer: Ends it when its time is over.
        ending: Its end, once that has begun.
    """

    def __init__(
        self, sandbox_id: str, creation: Creation, contained: Sandbox, directory: Path, gateway: Gateway
    ) -> None:
        self.id = sandbox_id
        self.creation = creation
        self.contained = contained
        self.directory = directory
        self.token = new_access_token()
        self.traffic_token = new_access_token()
        # To the microsecond, as it is told: a client may ask for what started at that very moment or later.
        self.started_at = round(time.time(), 6)
        self.ends_at = self.started_at
        self.processes = Processes(contained)
        self.envd = Envd(contained, self.processes, self.token)
        policy = policy_of(creation.network, creation.allow_internet_access)
        self.egress = Egress(contained, gateway, policy)
        self.connections: set[asyncio.Transport] = set()
        self.timer: asyncio.TimerHandle | None = None
        self.ending: asyncio.Task[None] | None = None

    @property
    def public(self) -> bool:
        """Whether its ports answer without the traffic token."""
        return (self.creation.network or {}).get("allowPublicTraffic") is not False

    def request_host(self, port: int) -> str | None:
        """Gives what its servers are told as the host of each request; None for what the client named."""
        mask = (self.creation.network or {}).get("maskRequestHost")
        return mask.replace("${PORT}", str(port)) if mask else None


class Sandboxes:
    """The register of living sandboxes.

    Args:
        directory: Where each keeps its files, in a directory of its own.
        launcher: What starts them.
        limits: What each may use.
        gateway: How they leave this machine.
        pool: How many are to stand ready before they are asked for.
        templates: What they can be made from; `base` alone if left out.
    """

    def __init__(
        self,
        directory: Path,
        launcher: Launcher,
        limits: Limits,
        gateway: Gateway,
        *,
        pool: int = 0,
        templates: Templates | None = None,
    ) -> None:
        self.templates = templates or Templates(directory / "no-templates")
        self._pool = Pool(directory, launcher, limits, pool)
        self._gateway = gateway
        self.limits = limits
        self._live: dict[str, LiveSandbox] = {}
        self._ending: dict[str, LiveSandbox] = {}
        self._creations: dict[str, tuple[Creation, asyncio.Task[LiveSandbox]]] = {}
        self._removals: set[asyncio.Task[None]] = set()
        self._closed = False

    def __iter__(self) -> Iterator[LiveSandbox]:
        return iter(list(self._live.values()))

    def __len__(self) -> int:
        return len(self._live) + len(self._ending)

    def get(self, sandbox_id: str) -> LiveSandbox | None:
        """Gives a living sandbox, or None."""
        return self._live.get(sandbox_id)

    def ending(self, sandbox_id: str) -> bool:
        """Whether a sandbox is about to be gone."""
        return sandbox_id in self._ending

    def start_ahead(self) -> None:
        """Starts those that are to stand ready, without waiting for them."""
        self._pool.fill()

    async def create(self, creation: Creation, key: str | None = None) -> LiveSandbox:
        """Starts a sandbox.

        Args:
            creation: What is asked for.
            key: The client's idempotency key: who repeats a request with it gets the sandbox of the first one.

        Raises:
            ProtocolError: The key stands for another request.
        """
        if key is None:
            return await self._create(creation)
        if key not in self._creations:
            task = asyncio.get_running_loop().create_task(self._create(creation))
            self._creations[key] = (creation, task)
            task.add_done_callback(lambda done: self._remember(key, done))
        first, task = self._creations[key]
        if first != creation:
            raise ProtocolError(409, "the idempotency key was used for another request: take a new one")
        return await asyncio.shield(task)

    def _remember(self, key: str, task: asyncio.Task[LiveSandbox]) -> None:
        if task.cancelled() or task.exception() is not None:
            # What failed may be tried again.
            del self._creations[key]
        else:
            asyncio.get_running_loop().call_later(_IDEMPOTENCY_SECONDS, self._creations.pop, key, None)

    async def _create(self, creation: Creation) -> LiveSandbox:
        template = await in_thread(self.templates.find, creation.template)
        try:
            contained = await self._pool.new(lambda sandbox_id: _environment(sandbox_id, creation), template.tree)
        except ContainmentError as error:
            raise ProtocolError(500, str(error)) from error
        if self._closed:
            await contained.kill()
            await in_thread(remove_state, contained.directory)
            raise ProtocolError(503, "the embedded server is ending")
        sandbox_id = contained.sandbox_id
        sandbox = LiveSandbox(sandbox_id, creation, contained, contained.directory, self._gateway)
        self._live[sandbox_id] = sandbox
        self.set_timeout(sandbox, creation.timeout)
        contained.ended.add_done_callback(lambda _: self._begin_end(sandbox))
        _log.info("sandbox %s started", sandbox_id)
        return sandbox

    def set_timeout(self, sandbox: LiveSandbox, seconds: float) -> None:
        """Lets a sandbox live for so many seconds from now on."""
        if sandbox.timer is not None:
            sandbox.timer.cancel()
        sandbox.ends_at = time.time() + seconds
        # The timer follows the monotonic clock: a jump of the wall clock neither kills a sandbox nor lets it live on.
        sandbox.timer = asyncio.get_running_loop().call_later(seconds, self._begin_end, sandbox)

    def extend(self, sandbox: LiveSandbox, seconds: float) -> None:
        """Lets a sandbox live for at least so many seconds from now on, and never shortens its time."""
        if time.time() + seconds > sandbox.ends_at:
            self.set_timeout(sandbox, seconds)

    async def end(self, sandbox: LiveSandbox) -> None:
        """Ends a sandbox, and returns when nothing in it lives any more; its files go a moment later."""
        await asyncio.shield(self._begin_end(sandbox))

    async def close(self) -> None:
        """Ends every sandbox, and lets none begin any more."""
        self._closed = True
        ends = [self.end(sandbox) for sandbox in [*self, *self._ending.values()]]
        await asyncio.gather(self._pool.close(), *ends)
        await asyncio.gather(*self._removals)

    def _begin_end(self, sandbox: LiveSandbox) -> asyncio.Task[None]:
        if sandbox.ending is None:
            self._live.pop(sandbox.id, None)
            self._ending[sandbox.id] = sandbox
            # At once, before whoever follows a process of it can be told that the process ended.
            for connection in sandbox.connections:
                reset(connection)
            sandbox.processes.abandon()
            sandbox.egress.close()
            sandbox.ending = asyncio.get_running_loop().create_task(self._end(sandbox))
            sandbox.ending.add_done_callback(lambda _: self._ending.pop(sandbox.id))
        return sandbox.ending

    async def _end(self, sandbox: LiveSandbox) -> None:
        if sandbox.timer is not None:
            sandbox.timer.cancel()
        await sandbox.contained.kill()
        _log.info("sandbox %s ended: %r", sandbox.id, sandbox.contained.ended.result())
        # Nobody has to wait for that: to remove some forty directories takes longer than all the rest.
        removal = asyncio.get_running_loop().create_task(_remove(sandbox.directory))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)


async def _remove(directory: Path) -> None:
    try:
        await in_thread(remove_state, directory)
    except OSError:
        # The next server tries again.
        _log.exception("the files of an ended sandbox stay: %s", directory.name)


def _environment(sandbox_id: str, creation: Creation) -> dict[str, str]:
    """Gives the variables of a sandbox; the client's own cannot take the place of those that say where it is."""
    own = {"E2B_SANDBOX": "true", "E2B_SANDBOX_ID": sandbox_id, "E2B_TEMPLATE_ID": creation.template}
    return {**proxy_variables(), **creation.envs, **own}
