"""One sandbox a project: found again, made once, kept alive while it is used.

A manager lives as long as a kernel, or a Jupyter server. Asked for a project's sandbox it gives a `Lease`:

1. the sandbox it holds already, for as long as that was seen alive within the last 55 minutes;
2. else the one whose id the client remembers from an earlier session;
3. else one that carries this project's metadata, left by a session that died before it could tell its id;
4. else a new one.

Steps 2 to 4 run once however many ask: inside a process one task serves all, between processes a lock file lets one
go first and the rest find its sandbox at step 3.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

from e2b import AsyncSandbox, SandboxInfo, SandboxState

from e2b_magic.config import Configuration
from e2b_magic.exceptions import SandboxGoneError, SandboxUnreachableError
from e2b_magic.sandboxes.connection import Connection, connect
from e2b_magic.sandboxes.lease import Lease
from e2b_magic.sandboxes.lifetimes import Lifetimes
from e2b_magic.sandboxes.sdk_errors import translating
from e2b_magic.sandboxes.tagged import TaggedSandboxes, Wanted, template_of
from e2b_magic.sandboxes.turns import first_among_processes
from e2b_magic.worker.protocol import Attached, Emit, Progress
from e2b_magic.worker.requests.base import Request

REUSE = 55 * 60
"""How long a sandbox is reused without asking its server, in seconds: the seed's 55 minutes."""
IDLE = 30
"""After this many seconds without use a sandbox is asked whether it is alive before work is sent to it."""
SILENT = 5
"""A sandbox that has not come after this many seconds is said to be waited for: most come within one or two."""


class Kept(Protocol):
    """What outlives the request that made it, such as a transfer."""

    async def close(self) -> None:
        """Ends it."""
        ...


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A lease as whoever waited for it is told of it: was it made, and does it stand for one that was lost?"""

    lease: Lease
    created: bool
    replaced: bool


class SandboxManager:
    """Keeps the sandboxes of one user's projects.

    Args:
        configuration: Which E2B to use, and where the lock files lie.

    Attributes:
        lifetimes: How long the sandboxes live.
        kept: What outlives a request, by the id that later ones name it with; closed with the manager.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._leases: dict[str, Lease] = {}
        self._arriving: dict[str, asyncio.Task[_Arrival]] = {}
        self._tagged = TaggedSandboxes(configuration)
        self.lifetimes = Lifetimes()
        self.kept: dict[str, Kept] = {}

    async def lease(self, request: Request, emit: Emit) -> Lease:
        """Gives the sandbox of a request's project, making one when there is none.

        Raises:
            InvalidRequestError: The project's sandbox was made from another template.
            BackendError: No sandbox could be had.
        """
        self.lifetimes.note(request)
        lease, created = await self._held(request.project_id), False
        if lease is None:
            arrival = await self._arrive(request, emit)
            lease, created = arrival.lease, arrival.created
            if arrival.replaced:
                await emit(
                    Progress(
                        f"The sandbox of project {lease.project!r} had ended: its files are lost, a new one is used"
                    )
                )
        lease.check_template(request.template)
        self.lifetimes.extend_used(lease)
        await emit(Attached(lease.sandbox_id, lease.connection.backend, lease.expires_at, created))
        return lease

    async def existing(self, request: Request, emit: Emit) -> Lease | None:
        """Gives the sandbox of a request's project when one runs already; makes none and wakes none."""
        self.lifetimes.note(request)
        lease = await self._held(request.project_id)
        if lease is None:
            info = await self.find(request)
            if info is None or info.state is not SandboxState.RUNNING:
                return None
            lease = await self._reconnect(await self.connection(), request, info.sandbox_id)
            if lease is None:
                return None
            lease = self._leases.setdefault(lease.project, lease)
        await emit(Attached(lease.sandbox_id, lease.connection.backend, lease.expires_at, created=False))
        return lease

    def port_url(self, lease: Lease, port: int) -> str:
        """Gives where a port of a sandbox is reached from a browser.

        That is an origin of its own, or, where the browser is not on this machine, the Jupyter server's route to it.
        """
        route = self.configuration.preview_route
        if route and lease.connection.sandbox_url is not None:
            return f"{route}/{lease.project}/{port}/"
        return lease.connection.port_url(lease.sandbox, port)

    def forget(self, lease: Lease) -> None:
        """Drops a lease whose sandbox was seen to have ended, so that the next request finds or makes another."""
        if self._leases.get(lease.project) is lease:
            del self._leases[lease.project]

    def drop(self, project: str) -> None:
        """Drops whatever lease a project has, so that the next request asks the server for its sandbox."""
        self._leases.pop(project, None)

    async def connection(self) -> Connection:
        """Gives the E2B server in use, starting the embedded one when it is down.

        Raises:
            ConfigurationError: There is no server that could be used.
        """
        if self._connection is not None and not self._connection.alive():
            self._drop_connection()
        if self._connection is None:
            async with self._connecting:  # each holds a descriptor, and one that is replaced would never be closed
                if self._connection is None:
                    self._connection = await connect(self.configuration)
        return self._connection

    def _drop_connection(self) -> None:
        self._leases.clear()
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    async def find(self, request: Request) -> SandboxInfo | None:
        """Gives what the server knows of a project's sandbox, or None; makes and extends nothing.

        A lease on it ends from then on when the server says, whoever has moved that.
        """
        connection = await self.connection()
        with translating():
            found = await self._tagged.list(connection, request.project_id)
        # Else each use would tell of another end than each look, and two views that follow them would never rest.
        lease = self._leases.get(request.project_id)
        for info in found:
            if lease is not None and lease.sandbox_id == info.sandbox_id:
                lease.expires_at = info.end_at.timestamp()
        return next((info for info in found if info.sandbox_id == request.sandbox_id), found[0] if found else None)

    async def kill(self, request: Request, *, only: str | None = None, spare: str | None = None) -> list[str]:
        """Ends a project's sandboxes and gives the ids of those that were alive.

        Args:
            request: Names the project.
            only: The one to end; all of them when left out.
            spare: The one that lives on.
        """
        connection = await self.connection()
        lease = self._leases.get(request.project_id)
        if lease is not None and only in (None, lease.sandbox_id) and lease.sandbox_id != spare:
            self.forget(lease)
        with translating():
            found = [info.sandbox_id for info in await self._tagged.list(connection, request.project_id)]
            wanted = [one for one in found if only in (None, one) and one != spare]
            return [one for one in wanted if await AsyncSandbox.kill(one, **connection.options())]

    async def all(self) -> list[SandboxInfo]:
        """Gives the sandboxes of all projects of this user on this host, running and paused, newest first."""
        with translating():
            return await self._tagged.list(await self.connection(), None)

    async def create(self, project: str, source: str, template: str, origin: str) -> Lease:
        """Makes a sandbox for a project that is known to have none.

        Args:
            project: The project's name.
            source: The template or snapshot that it is made from.
            template: The template that its project is said to have.
            origin: Who asks for it.
        """
        wanted = Wanted(project, source, template, self.lifetimes.seconds(project), origin)
        with translating():
            lease = await self._tagged.create(await self.connection(), wanted)
        self._leases[project] = lease
        return lease

    async def close(self) -> None:
        """Ends the manager's own work; the sandboxes live on until their time is over."""
        await asyncio.gather(*[kept.close() for kept in list(self.kept.values())], return_exceptions=True)
        tasks = list(self._arriving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.lifetimes.close()
        self._drop_connection()

    async def _held(self, project: str) -> Lease | None:
        lease = self._leases.get(project)
        if lease is None:
            return None
        now = time.monotonic()
        fresh = now - lease.verified < REUSE and time.time() < lease.expires_at and lease.connection.alive()
        if fresh and (now - lease.used < IDLE or await self._answers(lease)):
            lease.used = now
            return lease
        self.forget(lease)
        return None

    async def _answers(self, lease: Lease) -> bool:
        try:
            with translating():
                return await lease.sandbox.is_running(request_timeout=10)
        except SandboxUnreachableError:
            return False

    async def _arrive(self, request: Request, emit: Emit) -> _Arrival:
        task = self._arriving.get(request.project_id)
        if task is None:
            task = asyncio.create_task(self._find_or_create(request))
            self._arriving[request.project_id] = task
            task.add_done_callback(lambda _: self._arriving.pop(request.project_id, None))
        if not (await asyncio.wait([task], timeout=SILENT))[0]:
            await emit(Progress(f"Waiting for the sandbox of project {request.project_id!r}"))
        # Shielded: an impatient caller must not take the sandbox away from the others who wait for it.
        return await asyncio.shield(task)

    async def _find_or_create(self, request: Request) -> _Arrival:
        connection, locks = await self.connection(), self.configuration.directory / "locks"
        async with first_among_processes(locks, connection.backend, self.configuration.user, request.project_id):
            with translating():
                lease = await self._find_alive(connection, request)
                created = lease is None
                if lease is None:
                    lease = await self._tagged.create(connection, self._wanted(request))
        self._leases[lease.project] = lease
        return _Arrival(lease, created, replaced=created and bool(request.sandbox_id))

    def _wanted(self, request: Request) -> Wanted:
        name, template = request.project_id, request.template
        return Wanted(name, template, template, self.lifetimes.seconds(name), request.origin)

    async def _find_alive(self, connection: Connection, request: Request) -> Lease | None:
        if request.sandbox_id and (lease := await self._reconnect(connection, request, request.sandbox_id)):
            return lease
        for info in await self._tagged.list(connection, request.project_id):
            if lease := await self._reconnect(connection, request, info.sandbox_id):
                return lease
        return None

    async def _reconnect(self, connection: Connection, request: Request, sandbox_id: str) -> Lease | None:
        """Gives a lease on a sandbox, or None when it has ended; `connect` never shortens a sandbox's time."""
        try:
            with translating():
                if self.configuration.shared and not await self._is_own(connection, sandbox_id):
                    return None
                timeout = self.lifetimes.seconds(request.project_id)
                sandbox = await AsyncSandbox.connect(sandbox_id, timeout=timeout, **connection.options())
                info = await sandbox.get_info()
        except SandboxGoneError:
            return None
        return Lease(sandbox, connection, request.project_id, template_of(info), info.end_at.timestamp())

    async def _is_own(self, connection: Connection, sandbox_id: str) -> bool:
        """Whether a sandbox carries this user's name: to know an id is not enough where a key serves several users."""
        info = await AsyncSandbox.get_info(sandbox_id, **connection.options())
        return info.metadata.get("e2b-magic-user") == self.configuration.user
