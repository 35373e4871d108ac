"""The sandboxes that there are, from their creation to their end.

`Sandboxes` is the register: every sandbox has a `Record` in it, a running one a `LiveSandbox` too, and a paused one is
in `pauses`. A running sandbox ends in one of three ways: a client kills it, its time is over, or it dies by itself; all
three go through `end`, once. It first leaves the register, so that its health is answered with "not found"; then its
open connections are reset; then everything in it is killed and its files are removed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any

from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.containment.removal import remove_state
from e2b_magic.embedded.egress.gateway import Gateway
from e2b_magic.embedded.sandbox.sandbox import AgentError, Sandbox
from e2b_magic.embedded.server.blocking import in_thread
from e2b_magic.embedded.server.connections import reset
from e2b_magic.embedded.server.creation import Creation
from e2b_magic.embedded.server.egress_proxy import check_proxy
from e2b_magic.embedded.server.environment import environment_of, trust
from e2b_magic.embedded.server.live import LiveSandbox
from e2b_magic.embedded.server.network import policy_of
from e2b_magic.embedded.server.pauses import Pauses
from e2b_magic.embedded.server.pool import Pool
from e2b_magic.embedded.server.protocol_errors import ProtocolError, no_such_sandbox
from e2b_magic.embedded.server.record import Record
from e2b_magic.embedded.server.snapshots import Snapshots
from e2b_magic.embedded.server.templates import Templates
from e2b_magic.embedded.server.tokens import new_sandbox_id
from e2b_magic.exceptions import ContainmentError

# How long the answer to a creation is kept for a client that asks again with the same key, in seconds. The SDK
# repeats a request within a minute or so; ten give slow ones room.
_IDEMPOTENCY_SECONDS = 600.0

_log = logging.getLogger(__name__)


class Sandboxes:
    """The register of sandboxes; those that run, when it is iterated over.

    Args:
        directory: Where each keeps its files, in a directory of its own.
        launcher: What starts them.
        limits: What each may use.
        gateway: How they leave this machine.
        snapshots: What they can be made from.
        pool: How many are to stand ready before they are asked for.
        templates: What they can be made from; `base` alone if left out.

    Attributes:
        limits: As given.
        snapshots: As given.
        pauses: Those that are paused.
    """

    def __init__(
        self,
        directory: Path,
        launcher: Launcher,
        limits: Limits,
        gateway: Gateway,
        snapshots: Snapshots,
        *,
        pool: int = 0,
        templates: Templates | None = None,
    ) -> None:
        self.templates = templates or Templates(directory / "no-templates")
        self._directory = directory
        self._pool = Pool(directory, launcher, limits, pool)
        self._gateway = gateway
        self.limits = limits
        self.snapshots = snapshots
        self.pauses = Pauses(self)
        self._records: dict[str, Record] = {}
        self._live: dict[str, LiveSandbox] = {}
        self._ending: dict[str, LiveSandbox] = {}
        self._creations: dict[str, tuple[Creation, asyncio.Task[LiveSandbox]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._lost: frozenset[str] = frozenset()
        self._closed = False

    def __iter__(self) -> Iterator[LiveSandbox]:
        return iter(list(self._live.values()))

    def __len__(self) -> int:
        """How many keep the server alive: those that run, and the frozen, whose processes end with it."""
        return len(self._live) + len(self._ending) + self.pauses.frozen

    @property
    def records(self) -> list[Record]:
        """All sandboxes, running and paused."""
        return list(self._records.values())

    def get(self, sandbox_id: str) -> LiveSandbox | None:
        """Gives a running sandbox, or None."""
        return self._live.get(sandbox_id)

    def record(self, sandbox_id: str) -> Record | None:
        """Gives a sandbox, running or paused, or None."""
        return self._records.get(sandbox_id)

    def ending(self, sandbox_id: str) -> bool:
        """Whether a sandbox is about to be gone."""
        return sandbox_id in self._ending

    def missing(self, sandbox_id: str) -> ProtocolError:
        """Gives the answer for a sandbox that does not run, or is not there at all."""
        if sandbox_id in self._lost:
            return ProtocolError(404, f'sandbox "{sandbox_id}" ended with the server that ran it: its files are lost')
        return no_such_sandbox(sandbox_id)

    def adopt(self, paused: Iterable[Record], lost: Iterable[str]) -> None:
        """Takes over what an earlier server left.

        Args:
            paused: Those that it had paused.
            lost: The ids of those that ran in it when it was killed.
        """
        for record in paused:
            self._records[record.id] = record
            self.pauses.add(record)
        self._lost = frozenset(lost)

    def start_ahead(self) -> None:
        """Starts those that are to stand ready, without waiting for them."""
        self._pool.fill()

    async def create(self, creation: Creation, key: str | None = None) -> LiveSandbox:
        """Starts a sandbox.

        Args:
            creation: What is asked for.
            key: The client's idempotency key: who repeats a request with it gets the sandbox of the first one.

        Raises:
            ProtocolError: The key stands for another request, or there is no such template.
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
        await check_proxy(self._gateway, policy_of(creation.network, creation.allow_internet_access))
        try:
            template = await in_thread(self.templates.find, creation.template)
        except ProtocolError as error:
            snapshot = self.snapshots.find(creation.template) if error.status == 404 else None
            if snapshot is None:
                raise
            record = self.new_record(creation, base=snapshot.base)
            await self.snapshots.copy_to(snapshot, record.directory)
            return await self.start_copy(record, creation.timeout)
        try:
            contained = await self._pool.new(lambda sandbox_id: environment_of(sandbox_id, creation), template.tree)
        except ContainmentError as error:
            raise ProtocolError(500, str(error)) from error
        record = Record(id=contained.sandbox_id, creation=creation, directory=contained.directory, base=template.name)
        try:
            return await self._begin(record, contained, creation.timeout)
        except BaseException:
            await in_thread(remove_state, record.directory)
            raise

    def new_record(self, creation: Creation, *, base: str) -> Record:
        """Gives a sandbox that is nowhere yet, and whose directory is not made.

        Args:
            creation: What its client asked for.
            base: The template that its files lie over.
        """
        sandbox_id = new_sandbox_id()
        return Record(id=sandbox_id, creation=creation, directory=self._directory / sandbox_id, base=base)

    async def start_copy(self, record: Record, seconds: float) -> LiveSandbox:
        """Starts a new sandbox on files that were copied for it, which are gone if it does not start.

        Raises:
            ProtocolError: It did not start.
        """
        try:
            return await self.start(record, seconds)
        except BaseException:
            await in_thread(remove_state, record.directory)
            raise

    async def start(self, record: Record, seconds: float) -> LiveSandbox:
        """Starts a sandbox on its files, which stay if it does not start.

        Args:
            record: What it is.
            seconds: How long it is to live.

        Raises:
            ProtocolError: It did not start, or its template is gone.
        """
        template = await in_thread(self.templates.find, record.base)
        environment = environment_of(record.id, record.creation)
        try:
            contained = await self._pool.start_on(record.directory, environment, template.tree)
        except ContainmentError as error:
            raise ProtocolError(500, str(error)) from error
        return await self._begin(record, contained, seconds)

    async def _begin(self, record: Record, contained: Sandbox, seconds: float) -> LiveSandbox:
        try:
            sandbox = LiveSandbox(record, contained, self._gateway)
            await self.trust(sandbox)
            self.enter(sandbox, seconds)
        except BaseException:  # a kept record may say what cannot be meant any more; nothing may run unknown
            await contained.kill()
            raise
        contained.ended.add_done_callback(lambda _: self._died(sandbox))
        return sandbox

    async def trust(self, sandbox: LiveSandbox) -> None:
        """Has a sandbox trust this server's authority, where its rules need that; without it, its requests fail."""
        try:
            await trust(sandbox.contained, sandbox.record.creation, self._gateway.authority)
        except (AgentError, OSError) as error:
            _log.warning("sandbox %s does not trust this server's certificates: %s", sandbox.id, error)

    def enter(self, sandbox: LiveSandbox, seconds: float) -> None:
        """Enters a sandbox that runs from now on, for so many seconds.

        Raises:
            ProtocolError: The server is ending, and would end it no more.
        """
        if self._closed:
            raise ProtocolError(503, "the embedded server is ending")
        record = sandbox.record
        record.state = "running"
        record.started_at = round(time.time(), 6)
        self._records[record.id] = record
        self._live[record.id] = sandbox
        self.set_timeout(sandbox, seconds)
        record.log.add("sandbox started", event="start")
        _log.info("sandbox %s started", record.id)

    def leave(self, sandbox: LiveSandbox) -> None:
        """Takes a sandbox out of those that run, and breaks every connection to it off."""
        self._live.pop(sandbox.id, None)
        if sandbox.timer is not None:
            sandbox.timer.cancel()
        # At once, before whoever follows a process of it can be told that the process ended.
        for connection in sandbox.connections:
            reset(connection)

    def set_timeout(self, sandbox: LiveSandbox, seconds: float) -> None:
        """Lets a sandbox live for so many seconds from now on."""
        if sandbox.timer is not None:
            sandbox.timer.cancel()
        loop = asyncio.get_running_loop()
        sandbox.record.ends_at = time.time() + seconds
        # The timer follows the monotonic clock: a jump of the wall clock neither kills a sandbox nor lets it live on.
        sandbox.deadline = loop.time() + seconds
        sandbox.timer = loop.call_at(sandbox.deadline, self._time_is_over, sandbox)

    def extend(self, sandbox: LiveSandbox, seconds: float) -> None:
        """Lets a sandbox live for at least so many seconds from now on, and never shortens its time."""
        if time.time() + seconds > sandbox.record.ends_at:
            self.set_timeout(sandbox, seconds)

    def _time_is_over(self, sandbox: LiveSandbox) -> None:
        if sandbox.record.creation.auto_pause:
            self._carry_on(self._pause_or_end(sandbox))
        else:
            self._begin_end(sandbox)

    async def _pause_or_end(self, sandbox: LiveSandbox) -> None:
        if not await self.pauses.pause_by_time(sandbox):
            await self.end(sandbox)

    def _carry_on(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self, sandbox: LiveSandbox) -> None:
        """Ends a running sandbox, and returns when nothing in it lives any more; its files go a moment later."""
        await asyncio.shield(self._begin_end(sandbox))

    async def kill(self, record: Record) -> None:
        """Ends a sandbox, running or paused, and returns when nothing in it lives any more."""
        sandbox = self._live.get(record.id)
        if sandbox is None:
            async with record.changing:
                if await self.pauses.remove(record):
                    self._records.pop(record.id, None)
                    _log.info("the paused sandbox %s was killed", record.id)
                    return
            sandbox = self._live.get(record.id) or self._ending.get(record.id)
        if sandbox is not None:
            await self.end(sandbox)

    async def close(self) -> None:
        """Ends every running sandbox, leaves the paused ones' files, and lets none begin any more."""
        self._closed = True
        ends = [self.end(sandbox) for sandbox in [*self, *self._ending.values()]]
        await asyncio.gather(self._pool.close(), *ends)
        # What was being paused or resumed meanwhile.
        await asyncio.gather(*[self.end(sandbox) for sandbox in self])
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        await self.pauses.close()

    def _died(self, sandbox: LiveSandbox) -> None:
        # One that dies while it is paused, or made so, is seen to by whoever resumes it: its files are kept.
        if self._live.get(sandbox.id) is sandbox:
            self._begin_end(sandbox)

    def _begin_end(self, sandbox: LiveSandbox) -> asyncio.Task[None]:
        if sandbox.ending is None:
            self.leave(sandbox)
            self._records.pop(sandbox.id, None)
            self._ending[sandbox.id] = sandbox
            sandbox.abandon()
            sandbox.ending = asyncio.get_running_loop().create_task(self._end(sandbox))
            sandbox.ending.add_done_callback(lambda _: self._ending.pop(sandbox.id))
        return sandbox.ending

    async def _end(self, sandbox: LiveSandbox) -> None:
        await sandbox.contained.kill(unmounted=False)
        # Nobody has to wait for that: to unmount and to remove some forty directories takes longer than all the rest.
        self._carry_on(_remove(sandbox))


async def _remove(sandbox: LiveSandbox) -> None:
    record = sandbox.record
    _log.info("sandbox %s ended: %r", record.id, await asyncio.shield(sandbox.contained.ended))
    async with record.changing:  # its files may just be copied
        try:
            await in_thread(remove_state, record.directory)
        except OSError:
            # The next server tries again.
            _log.exception("the files of an ended sandbox stay: %s", record.id)
