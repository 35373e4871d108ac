"""The processes of one sandbox, as E2B's process service sees them.

`Processes` is the table: those that run, and for half a minute those that ended. A `RunningProcess` ties the
contained process to its output, its input and its end. The end comes when the process is gone and its output has
come to an end too, so that what a background child still writes is seen; after a signal or the lifetime's end it
comes at once (both as E2B's own server does it).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Coroutine, Iterator

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from e2b.envd.process.process_pb import ProcessConfig, ProcessEvent, ProcessInfo, ProcessSelector
from protobuf import Oneof

from e2b_magic.embedded.sandbox.sandbox import AgentError, Process, Sandbox
from e2b_magic.embedded.server.events import Channel, end_event
from e2b_magic.embedded.server.input import Input
from e2b_magic.embedded.server.log import SandboxLog
from e2b_magic.embedded.server.output import Listener, Output

# How long a late `Connect` still learns how a process ended, in seconds (E2B's figure).
REPLAY_SECONDS = 30.0
# Seconds: how long whoever kills a process waits for it to be gone. One that the kernel holds up may stay longer.
_DEATH_SECONDS = 2.0


class RunningProcess:
    """One process, from its start until it is forgotten.

    Attributes:
        pid: Its process id inside the sandbox.
        config: The request it was started with.
        tag: The name the client gave it; None for none.
        terminal: Whether it runs on a terminal.
        lifetime: Ends it when its time is over; None where that is not limited.
        left: Seconds of its lifetime that are left, while its clock stands; None where it does not.
        expired: Whether its lifetime ended before it did.
        end: The event of its end; None while it runs.
        over: Set when it has left the table of those that run.
    """

    def __init__(self, process: Process, config: ProcessConfig, tag: str | None, *, terminal: bool) -> None:
        self._process = process
        self.pid = process.pid
        self.config = config
        self.tag = tag
        self.terminal = terminal
        self.expired = False
        self.lifetime: asyncio.TimerHandle | None = None
        self.left: float | None = None
        self.end: ProcessEvent | None = None
        self.over = asyncio.Event()
        channels: dict[int, Channel] = {process.stdout: "pty"}
        if not terminal:
            channels = {process.stdout: "stdout", process.stderr: "stderr"}
        self.output = Output(channels)
        self.input = Input(process.stdin)
        self.forced: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def info(self) -> ProcessInfo:
        """What the list of processes shows of it."""
        info = ProcessInfo(config=self.config, pid=self.pid)
        if self.tag is not None:
            info.tag = self.tag
        return info

    @property
    def status(self) -> str:
        """How it ended, in the words of its last event; empty while it runs."""
        match self.end.event if self.end is not None else None:
            case Oneof(value=ProcessEvent.EndEvent() as end):
                return end.status
            case _:
                return ""

    def suspend(self) -> None:
        """Stops the clock of its lifetime."""
        if self.lifetime is not None:
            self.left = self.lifetime.when() - asyncio.get_running_loop().time()
            self.lifetime.cancel()
            self.lifetime = None

    def listen(self) -> Listener:
        """Gives a listener to its output; of a process that ended, to the end alone."""
        listener = self.output.listen()
        if self.end is not None:
            listener.put(self.end)
            listener.end()
        return listener

    def force(self) -> None:
        """Makes the end come as soon as the process itself is gone, whoever still holds its output."""
        if not self.forced.done():
            self.forced.set_result(None)

    async def wait(self) -> None:
        """Returns when it is over, everyone who listened told."""
        status = await asyncio.shield(self._process.exited)
        await asyncio.wait({self.output.finished, self.forced}, return_when=asyncio.FIRST_COMPLETED)
        self.output.drain()
        self.end = end_event(status)
        self.output.end(self.end)
        self.close()

    def close_input(self) -> None:
        """Closes its standard input; closing twice is no mistake."""
        descriptor = self.input.close()
        if descriptor is not None:
            self._process.stdin = None
            os.close(descriptor)

    def close(self) -> None:
        """Closes its descriptors, after nothing reads or writes them any more."""
        if self.lifetime is not None:
            self.lifetime.cancel()
        self.input.close()
        self._process.close()


class Processes:
    """The processes of one sandbox.

    Args:
        contained: The sandbox they run in.
        log: Where their starts and ends are told.
    """

    def __init__(self, contained: Sandbox, log: SandboxLog) -> None:
        self._contained = contained
        self._log = log
        self._running: dict[int, RunningProcess] = {}
        self._ended: dict[int, RunningProcess] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[RunningProcess]:
        return iter(list(self._running.values()))

    def add(self, process: RunningProcess) -> None:
        """Enters a process that was just started, and sees to its end."""
        # The kernel may give the id of an ended process to a new one, which then is the one that is meant.
        self._ended.pop(process.pid, None)
        self._running[process.pid] = process
        self._log.add(f"process {process.pid} started", event="process_start", pid=str(process.pid))
        self._spawn(self._watch(process))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self, process: RunningProcess) -> None:
        await process.wait()
        del self._running[process.pid]
        self._ended[process.pid] = process
        process.over.set()
        status = process.status
        self._log.add(
            f"process {process.pid} ended: {status}", event="process_end", pid=str(process.pid), status=status
        )
        asyncio.get_running_loop().call_later(REPLAY_SECONDS, self._forget, process)

    def limit(self, process: RunningProcess, seconds: float) -> None:
        """Ends a process, whether or not anyone still follows it, when its lifetime is over."""
        process.lifetime = asyncio.get_running_loop().call_later(seconds, self._expire, process)

    def suspend(self) -> None:
        """Stops the clocks of all lifetimes, the sandbox standing still: time that passes now is not theirs."""
        for process in self:
            process.suspend()

    def resume(self) -> None:
        """Lets the clocks of all lifetimes go on."""
        for process in self:
            if process.left is not None:
                self.limit(process, process.left)
                process.left = None

    def _expire(self, process: RunningProcess) -> None:
        process.expired = True
        self._spawn(self._kill(process))

    async def _kill(self, process: RunningProcess) -> None:
        # A sandbox that is gone took the process along; `abandon` tells whoever listens.
        with contextlib.suppress(AgentError):
            await self.signal(process, int(signal.SIGKILL))

    def _forget(self, process: RunningProcess) -> None:
        if self._ended.get(process.pid) is process:
            del self._ended[process.pid]

    def find(self, selector: ProcessSelector | None, *, ended: bool = False) -> RunningProcess:
        """Gives the process that a request means.

        Args:
            selector: Its process id or its tag.
            ended: Whether one that ended a moment ago will do.

        Raises:
            ConnectError: There is none.
        """
        tables = [self._running, self._ended] if ended else [self._running]
        match selector.selector if selector is not None else None:
            case Oneof(field="pid", value=int(pid)):
                for table in tables:
                    if pid in table:
                        return table[pid]
                raise ConnectError(Code.NOT_FOUND, f"process with pid {pid} not found")
            case Oneof(field="tag", value=str(tag)):
                for table in tables:
                    for process in table.values():
                        if process.tag == tag:
                            return process
                raise ConnectError(Code.NOT_FOUND, f"process with tag {tag} not found")
            case _:
                raise ConnectError(Code.INVALID_ARGUMENT, "the request names no process: give its pid or its tag")

    async def signal(self, process: RunningProcess, number: int) -> None:
        """Sends a signal to a process, and to no child of it.

        Raises:
            AgentError: It could not be sent.
        """
        try:
            await self._contained.signal(process.pid, number)
        except AgentError as error:
            # It ended already and a child keeps its output open: nothing is left to kill, but an end to tell.
            if error.code != "not_found":
                raise
        process.force()

    async def kill(self, process: RunningProcess) -> None:
        """Sends SIGKILL to a process, and waits until it is gone: whoever has killed it may look for it at once.

        Raises:
            AgentError: It could not be sent.
        """
        await self.signal(process, int(signal.SIGKILL))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.over.wait(), _DEATH_SECONDS)

    def abandon(self) -> None:
        """Lets go of every process, its sandbox being gone."""
        for task in self._tasks:
            task.cancel()
        for process in self:
            process.output.end(failure=ConnectError(Code.UNAVAILABLE, "the sandbox was not found"))
            process.close()
        self._running.clear()
        self._ended.clear()
