"""One sandbox: a contained machine, its agent, and what can be asked of it.

A `Launcher` starts bubblewrap; its first process is the agent, on the other end of a `Channel`. A `Sandbox` turns calls
into the agent's requests, checks what comes back, and sees to the end: whatever ends first (bubblewrap, the
agent, or the agent's good manners), everything ends, and `ended` tells why.

Only pipes and socket pairs that the daemon made go in; only descriptors of regular files and TCP sockets come out, each
looked at before it is handed on.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from e2b_magic.embedded.channel import Channel, Gone, Refused, Violation
from e2b_magic.embedded.entries import AgentError, Entry, expect_nothing, parse_entries, parse_entry
from e2b_magic.embedded.launcher import Launched, Launcher
from e2b_magic.embedded.limits import Limits
from e2b_magic.embedded.outward import Connection, check_file, check_socket
from e2b_magic.embedded.spawned import ExitStatus, Process, Streams, parse_exit, parse_pid
from e2b_magic.embedded.state import StateDirectory
from e2b_magic.exceptions import ContainmentError

__all__ = ["AgentError", "Entry", "ExitStatus", "Process", "Sandbox"]

T = TypeVar("T")
_CHILD = re.compile(rb'"child-pid": *(\d+)')
# Seconds that a machine under load may take to start one; it takes 15 ms on an idle one.
START_TIMEOUT = 30.0
# Seconds after which a sandbox that was killed is given up to bubblewrap's own end.
KILL_TIMEOUT = 5.0
COMPLAINT_BYTES = 4096


class Sandbox:
    """A running sandbox.

    Attributes:
        sandbox_id: Its id.
        directory: Its state directory.
        ended: Resolves with the reason, in a few words, when all of it is gone.
    """

    def __init__(self, sandbox_id: str, state: StateDirectory, launched: Launched, launcher: Launcher) -> None:
        loop = asyncio.get_running_loop()
        self.sandbox_id = sandbox_id
        self.directory = state.path
        self.ended: asyncio.Future[str] = loop.create_future()
        self._state = state
        self._launched = launched
        self._launcher = launcher
        self._ready: asyncio.Future[None] = loop.create_future()
        self._processes: dict[int, Process] = {}
        self._reason = ""
        self._agent: int | None = None
        self._channel = Channel(launched.channel, self._told, self._end)
        self._bubblewrap = os.pidfd_open(launched.bubblewrap.pid)
        loop.add_reader(self._bubblewrap, self._bubblewrap_ended)

    @classmethod
    async def start(
        cls, *, sandbox_id: str, directory: Path, envs: Mapping[str, str], limits: Limits, launcher: Launcher
    ) -> Self:
        """Starts a sandbox.

        Args:
            sandbox_id: Its id.
            directory: Where its files are kept; made if it is not there, and left when the sandbox ends.
            envs: The variables that its processes get.
            limits: What it may use.
            launcher: What starts sandboxes on this machine.

        Raises:
            ContainmentError: This machine cannot contain it.
            ConfigurationError: The directory is another sandbox's.
        """
        state = StateDirectory.open(directory)
        try:
            launched = await launcher.launch(sandbox_id, state, limits)
        except BaseException:
            state.close()
            raise
        sandbox = cls(sandbox_id, state, launched, launcher)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await sandbox._begin(envs, limits)
        except BaseException as error:
            await sandbox.kill()
            if isinstance(error, TimeoutError):
                raise ContainmentError(f"A sandbox did not start within {START_TIMEOUT:.0f} seconds.") from None
            raise
        finally:
            await launcher.forget(sandbox_id)
        return sandbox

    async def _begin(self, envs: Mapping[str, str], limits: Limits) -> None:
        self._agent = await self._find_agent()
        fixed = {"E2B_SANDBOX": "true", "E2B_SANDBOX_ID": self.sandbox_id}
        settings = {
            "undumpable": self._launcher.undumpable,
            "limits": limits.kept_inside(),
            "path": self._launcher.path,
            "envs": {**envs, **fixed},
        }
        with suppress(Gone):  # why it is gone, `_ready` tells
            self._channel.tell(settings)
        await self._ready

    async def _find_agent(self) -> int:
        """Gives a descriptor of the agent's process, by the id that bubblewrap tells as soon as there is one."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._launched.information, lambda: told.done() or told.set_result(None))
        try:
            await asyncio.wait({told, self._ready}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(self._launched.information)
        text = b"" if self._ready.done() else os.read(self._launched.information, 4096)
        if not text:
            await self._ready  # which tells what bubblewrap complained of
        # The object comes in several writes, of which the first ends after this number: waiting for the rest is waiting.
        found = _CHILD.search(text)
        if found is None:
            raise ContainmentError("bubblewrap did not tell the id of the process that it started.")
        return os.pidfd_open(int(found[1]))

    def _told(self, message: dict[str, Any]) -> None:
        if message == {"ready": True} and not self._ready.done():
            self._ready.set_result(None)
            return
        pid, status = parse_exit(message)
        process = self._processes.pop(pid, None)
        if process is None:
            raise Violation("the end of a process was told that never began")
        if not process.exited.done():
            process.exited.set_result(status)

    def _end(self, reason: str) -> None:
        """Ends it all; when bubblewrap is gone too, `ended` says so."""
        self._reason = self._reason or reason
        self._channel.close()
        with suppress(ProcessLookupError):
            # The agent's end takes everything inside with it, and bubblewrap waits for that. To kill bubblewrap
            # instead would leave a moment in which all inside is still alive.
            if self._agent is not None:
                signal.pidfd_send_signal(self._agent, signal.SIGKILL)
            else:
                self._launched.bubblewrap.kill()

    def _bubblewrap_ended(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._bubblewrap)
        loop.remove_reader(self._launched.information)
        self._launched.bubblewrap.wait()
        self._end("the sandbox's first process ended")
        complaint = self._complaint()
        for descriptor in (self._bubblewrap, self._agent, self._launched.information, self._launched.complaints):
            if descriptor is not None:
                os.close(descriptor)
        self._agent = None
        self._state.close()
        for process in self._processes.values():
            if not process.exited.done():
                process.exited.set_result(ExitStatus(None, signal.SIGKILL))
        self._processes.clear()
        if not self._ready.done():
            self._ready.set_exception(ContainmentError(f"A sandbox could not be started: {complaint or self._reason}."))
            self._ready.exception()  # seen: who starts it may have been cancelled meanwhile
        self.ended.set_result(self._reason)

    def _complaint(self) -> str:
        """Gives the first line that bubblewrap, or the dying agent, had to say."""
        try:
            text = os.read(self._launched.complaints, COMPLAINT_BYTES).decode("utf-8", "replace")
        except BlockingIOError:
            return ""
        lines = text.strip().splitlines()
        return lines[-1] if lines else ""

    async def kill(self) -> None:
        """Ends the sandbox; returns when all of it is dead and reaped. Its directory stays."""
        self._end("it was killed")
        done, _ = await asyncio.wait({self.ended}, timeout=KILL_TIMEOUT)
        if not done:
            self._launched.bubblewrap.kill()
            await asyncio.shield(self.ended)

    async def _ask(
        self,
        do: str,
        accept: Callable[[Any, int | None], T],
        *,
        descriptors: Sequence[int] = (),
        descriptor: bool = False,
        **given: Any,
    ) -> T:
        try:
            return await self._channel.ask(do, given, accept, descriptors=descriptors, descriptor=descriptor)
        except Refused as refused:
            raise AgentError(refused.code, str(refused)) from None
        except Gone:
            raise AgentError("gone", f"sandbox {self.sandbox_id} has ended") from None

    async def spawn(
        self,
        *,
        argv: Sequence[str],
        envs: Mapping[str, str],
        cwd: str | None,
        user: str,
        stdin: bool,
        terminal: tuple[int, int] | None = None,
    ) -> Process:
        """Starts a process, in a session and a process group of its own.

        Args:
            argv: The program, looked for on the PATH if it holds no slash, and its arguments.
            envs: Its variables, beside the sandbox's.
            cwd: Where it starts; None for the user's home.
            user: `user` or `root`; empty for `user`.
            stdin: Whether it has a standard input; else that is `/dev/null`. A terminal always has one.
            terminal: Columns and rows of the terminal to run it on; None for pipes.

        Raises:
            AgentError: It could not be started.
        """
        streams = Streams.pipes(stdin=stdin, owner=self._state.identity) if terminal is None else Streams.terminal()

        def accept(told: Any, _: int | None) -> Process:
            process = Process(parse_pid(told), streams.stdin, streams.stdout, streams.stderr, loop.create_future())
            if process.pid in self._processes:
                raise Violation("a process began twice")
            self._processes[process.pid] = process
            return process

        loop = asyncio.get_running_loop()
        size = None if terminal is None else list(terminal)
        given = {"argv": list(argv), "envs": dict(envs), "cwd": cwd, "user": user, "stdin": stdin, "terminal": size}
        started = loop.create_task(self._ask("spawn", accept, descriptors=streams.given, **given))
        started.add_done_callback(lambda task: None if _succeeded(task) else streams.close())
        try:
            return await asyncio.shield(started)
        except asyncio.CancelledError:
            started.add_done_callback(self._unwanted)
            raise

    def _unwanted(self, started: asyncio.Task[Process]) -> None:
        """Ends a process whose asker was cancelled before it knew of it."""
        if _succeeded(started):
            process = started.result()
            process.close()
            with suppress(Gone):
                self._channel.tell({"do": "kill", "id": None, "pid": process.pid})

    async def signal(self, pid: int, signum: int) -> None:
        """Signals one process that was spawned, and no child of it.

        Raises:
            AgentError: `not_found`, or `invalid_argument` for no such signal.
        """
        await self._ask("signal", _nothing, pid=pid, number=signum)

    async def resize(self, pid: int, cols: int, rows: int) -> None:
        """Gives a process's terminal another size, in characters.

        Raises:
            AgentError: `not_found`, or `invalid_argument` when it has no terminal.
        """
        await self._ask("resize", _nothing, pid=pid, columns=cols, rows=rows)

    async def open_read(self, path: str, user: str) -> tuple[int, Entry]:
        """Opens a regular file for reading; the descriptor is the caller's to close.

        Raises:
            AgentError: `not_found`, `is_a_directory`, `invalid_argument` for neither, `permission_denied`.
        """
        return await self._ask("open_read", _opened, descriptor=True, path=path, user=user)

    async def open_write(self, path: str, user: str, *, metadata: Mapping[str, str] | None) -> tuple[int, Entry]:
        """Opens a regular file for writing, emptied, its parents made; the descriptor is the caller's to close.

        Args:
            path: The file's path.
            user: Whose path it is.
            metadata: What replaces the file's metadata; None for nothing.

        Raises:
            AgentError: `is_a_directory`, `permission_denied`, `no_space`, `invalid_argument`.
        """
        given = None if metadata is None else dict(metadata)
        return await self._ask("open_write", _opened, descriptor=True, path=path, user=user, metadata=given)

    async def stat(self, path: str, user: str) -> Entry:
        """Gives the entry at a path.

        Raises:
            AgentError: `not_found`.
        """
        return await self._ask("stat", _entry, path=path, user=user)

    async def list_directory(self, path: str, user: str, depth: int = 1) -> list[Entry]:
        """Gives the entries below a directory, depth-first, by name; links are not followed.

        Args:
            path: The directory.
            user: Whose path it is.
            depth: Levels; below 1 means 1.

        Raises:
            AgentError: `not_found`; `invalid_argument` for a file; `exhausted` for more than can be told at once.
        """
        return await self._ask("list_directory", lambda told, _: parse_entries(told), path=path, user=user, depth=depth)

    async def make_directory(self, path: str, user: str) -> Entry:
        """Makes a directory and its parents.

        Raises:
            AgentError: `already_exists`; `invalid_argument` when a file stands there.
        """
        return await self._ask("make_directory", _entry, path=path, user=user)

    async def move(self, source: str, destination: str, user: str) -> Entry:
        """Moves a file or directory, the destination's parents made; gives its new entry.

        Raises:
            AgentError: `not_found`, `already_exists` for a directory that is not empty.
        """
        return await self._ask("move", _entry, source=source, destination=destination, user=user)

    async def remove(self, path: str, user: str) -> None:
        """Removes a file, or a directory with all in it; what is not there is removed already.

        Raises:
            AgentError: `permission_denied`.
        """
        await self._ask("remove", _nothing, path=path, user=user)

    async def set_metadata(self, path: str, user: str, metadata: Mapping[str, str]) -> Entry:
        """Replaces a file's metadata.

        Raises:
            AgentError: `not_found`.
        """
        return await self._ask("set_metadata", _entry, path=path, user=user, metadata=dict(metadata))

    async def connect(self, port: int) -> Connection:
        """Dials a port of the sandbox's own loopback; the connection is the caller's to close.

        Args:
            port: 1 to 65,535.

        Raises:
            AgentError: `not_found`: nothing listens there.
        """
        return await self._ask("connect", lambda _, descriptor: check_socket(descriptor), descriptor=True, port=port)


def _succeeded(task: asyncio.Task[Any]) -> bool:
    return not task.cancelled() and task.exception() is None


def _nothing(told: Any, _: int | None) -> None:
    expect_nothing(told)


def _entry(told: Any, _: int | None) -> Entry:
    return parse_entry(told)


def _opened(told: Any, descriptor: int | None) -> tuple[int, Entry]:
    return check_file(descriptor), parse_entry(told)
