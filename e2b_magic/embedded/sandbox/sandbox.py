"""One sandbox: a contained machine, and what can be asked of it.

A `Machine` runs it. A `Sandbox` turns calls into requests to the agent inside, checks what comes back, and keeps
account of its processes and its disk. Only pipes and socket pairs that the daemon made go in; only descriptors of
regular files and TCP sockets come out, each looked at before it is handed on.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from e2b_magic.embedded.containment.control_group import ControlGroup
from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.sandbox.channel import Violation
from e2b_magic.embedded.sandbox.disk_quota import DiskQuota
from e2b_magic.embedded.sandbox.entries import AgentError, Entry, expect_nothing, parse_entries, parse_entry
from e2b_magic.embedded.sandbox.machine import Machine
from e2b_magic.embedded.sandbox.memory import wait_for_memory
from e2b_magic.embedded.sandbox.outward import Connection, check_file, check_socket
from e2b_magic.embedded.sandbox.spawned import ExitStatus, Process, Streams, parse_exit, parse_pid
from e2b_magic.embedded.sandbox.watching import FileEvent, Watch

__all__ = ["AgentError", "Entry", "ExitStatus", "FileEvent", "Process", "Sandbox", "Watch"]


class Sandbox:
    """A running sandbox; made by `start`.

    Attributes:
        sandbox_id: Its id.
        directory: Its state directory.
    """

    def __init__(self, sandbox_id: str, directory: Path) -> None:
        self.sandbox_id = sandbox_id
        self.directory = directory
        self._processes: dict[int, Process] = {}
        self._watches = itertools.count(1)
        self._machine: Machine
        self._quota: DiskQuota

    @classmethod
    async def start(
        cls,
        *,
        sandbox_id: str,
        directory: Path,
        envs: Mapping[str, str],
        limits: Limits,
        launcher: Launcher,
        tree: Path | None = None,
    ) -> Self:
        """Starts a sandbox.

        Args:
            sandbox_id: Its id: letters, digits and hyphens.
            directory: Where its files are kept; made if it is not there, and left when the sandbox ends.
            envs: The variables that its processes get.
            limits: What it may use.
            launcher: What starts sandboxes on this machine.
            tree: The root file system that stands in for the host's (`containment.tree`); None for the host's own.

        Raises:
            ContainmentError: This machine cannot contain it.
            ConfigurationError: The directory is another sandbox's.
        """
        sandbox = cls(sandbox_id, directory)
        machine = sandbox._machine = await Machine.start(
            sandbox_id=sandbox_id,
            directory=directory,
            envs=envs,
            limits=limits,
            launcher=launcher,
            told=sandbox._told,
            tree=tree,
        )
        sandbox._quota = DiskQuota(machine.state, limits.disk_bytes, sandbox._stop_processes)
        # First of all who waits for the end: a process's end must be known when the sandbox's is.
        machine.ended.add_done_callback(lambda _: sandbox._over())
        return sandbox

    @property
    def ended(self) -> asyncio.Future[str]:
        """Resolves with the reason, in a few words, when all of it is gone, for whatever reason."""
        return self._machine.ended

    @property
    def disk_used(self) -> int:
        """The bytes that its files took when they were last measured."""
        return self._quota.used

    @property
    def agent(self) -> int:
        """The process id, outside, of the first process inside; 0 when it has ended."""
        return self._machine.agent

    @property
    def group(self) -> ControlGroup | None:
        """Its control group, which freezes and counts; None where there are none."""
        return self._machine.group

    def _told(self, message: dict[str, Any]) -> None:
        pid, status = parse_exit(message)
        process = self._processes.pop(pid, None)
        if process is None:
            raise Violation("the end of a process was told that never began")
        if not process.exited.done():
            process.exited.set_result(status)

    def _over(self) -> None:
        self._quota.close()
        for process in self._processes.values():
            if not process.exited.done():
                process.exited.set_result(ExitStatus(None, signal.SIGKILL))
        self._processes.clear()

    def _stop_processes(self) -> None:
        self._machine.tell({"do": "kill_all"})

    async def kill(self, *, unmounted: bool = True) -> None:
        """Ends the sandbox; its directory stays.

        Args:
            unmounted: Whether to return only when all of it is gone, so that its directory can be used again; else
                when all of it is dead and reaped, without waiting for the disk.
        """
        await self._machine.kill(unmounted=unmounted)

    async def set_environment(self, envs: Mapping[str, str]) -> None:
        """Replaces the variables that the sandbox was started with, for processes that are started from now on.

        Raises:
            AgentError: The sandbox has ended.
        """
        await self._machine.ask("set_environment", _nothing, envs=dict(envs))

    async def freeze(self) -> None:
        """Stops everything inside, in a way that nothing inside can undo; it uses no processor until `thaw`.

        Raises:
            AgentError: It is gone.
            FreezeError: This machine does not let the server do that.
        """
        await self._machine.freeze()
        self._quota.close()

    async def thaw(self) -> None:
        """Lets everything go on; of a sandbox that has ended, nothing."""
        await self._machine.thaw()
        if not self.ended.done():
            self._quota.watch()

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
            AgentError: It could not be started; `exhausted` for want of memory that killing would bring.
        """
        await wait_for_memory(self.group)
        streams = (
            Streams.pipes(stdin=stdin, owner=self._machine.state.identity) if terminal is None else Streams.terminal()
        )

        def accept(told: Any, _: int | None) -> Process:
            process = Process(parse_pid(told), streams.stdin, streams.stdout, streams.stderr, loop.create_future())
            if process.pid in self._processes:
                raise Violation("a process began twice")
            self._processes[process.pid] = process
            return process

        loop = asyncio.get_running_loop()
        request = self._machine.ask(
            "spawn",
            accept,
            descriptors=streams.given,
            argv=list(argv),
            envs=dict(envs),
            cwd=cwd,
            user=user,
            stdin=stdin,
            terminal=None if terminal is None else list(terminal),
        )
        # A task of its own: once the agent was asked, the process starts, whether or not the asker still waits.
        started = loop.create_task(request)
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
            self._machine.tell({"do": "kill", "pid": process.pid})

    async def signal(self, pid: int, signum: int) -> None:
        """Signals one process that was spawned, and no child of it.

        Raises:
            AgentError: `not_found`, or `invalid_argument` for no such signal.
        """
        await self._machine.ask("signal", _nothing, pid=pid, number=int(signum))

    async def resize(self, pid: int, cols: int, rows: int) -> None:
        """Gives a process's terminal another size, in characters.

        Raises:
            AgentError: `not_found`, or `invalid_argument` when it has no terminal.
        """
        await self._machine.ask("resize", _nothing, pid=pid, columns=cols, rows=rows)

    async def open_read(self, path: str, user: str) -> tuple[int, Entry]:
        """Opens a regular file for reading; the descriptor is the caller's to close.

        Raises:
            AgentError: `not_found`, `is_a_directory`, `invalid_argument` for neither, `permission_denied`.
        """
        return await self._machine.ask("open_read", _opened, descriptor=True, abandon=_close, path=path, user=user)

    async def open_write(self, path: str, user: str, *, metadata: Mapping[str, str] | None) -> tuple[int, Entry]:
        """Opens a regular file for writing, emptied, its parents made; the descriptor is the caller's to close.

        Args:
            path: The file's path.
            user: Whose path it is.
            metadata: What replaces the file's metadata; None for nothing.

        Raises:
            AgentError: `is_a_directory`, `permission_denied`, `no_space`, `invalid_argument`.
        """
        self._quota.check()
        given = None if metadata is None else dict(metadata)
        return await self._machine.ask(
            "open_write", _opened, descriptor=True, abandon=_close, path=path, user=user, metadata=given
        )

    async def stat(self, path: str, user: str) -> Entry:
        """Gives the entry at a path.

        Raises:
            AgentError: `not_found`.
        """
        return await self._machine.ask("stat", _entry, path=path, user=user)

    async def list_directory(self, path: str, user: str, depth: int = 1) -> list[Entry]:
        """Gives the entries below a directory, depth-first, by name; links are not followed.

        Args:
            path: The directory.
            user: Whose path it is.
            depth: Levels; below 1 means 1.

        Raises:
            AgentError: `not_found`; `invalid_argument` for a file; `exhausted` for more than can be told at once.
        """
        return await self._machine.ask(
            "list_directory", lambda told, _: parse_entries(told), path=path, user=user, depth=depth
        )

    async def make_directory(self, path: str, user: str) -> Entry:
        """Makes a directory and its parents.

        Raises:
            AgentError: `already_exists`; `invalid_argument` when a file stands there.
        """
        return await self._machine.ask("make_directory", _entry, path=path, user=user)

    async def move(self, source: str, destination: str, user: str) -> Entry:
        """Moves a file or directory, the destination's parents made; gives its new entry.

        Raises:
            AgentError: `not_found`, `already_exists` for a directory that is not empty.
        """
        return await self._machine.ask("move", _entry, source=source, destination=destination, user=user)

    async def remove(self, path: str, user: str) -> None:
        """Removes a file, or a directory with all in it; what is not there is removed already.

        Raises:
            AgentError: `permission_denied`.
        """
        await self._machine.ask("remove", _nothing, path=path, user=user)

    async def set_metadata(self, path: str, user: str, metadata: Mapping[str, str]) -> Entry:
        """Replaces a file's metadata.

        Raises:
            AgentError: `not_found`.
        """
        return await self._machine.ask("set_metadata", _entry, path=path, user=user, metadata=dict(metadata))

    async def watch(self, path: str, user: str, *, recursive: bool, include_entry: bool) -> Watch:
        """Begins to watch a directory.

        Args:
            path: The directory.
            user: Whose path it is.
            recursive: Whether to watch what lies deeper too.
            include_entry: Whether to tell of each file, where it is still there, what `stat` tells.

        Raises:
            AgentError: `not_found`; `invalid_argument` for a file; `exhausted` for more than a sandbox may watch.
        """
        watch = Watch(self._machine, next(self._watches))
        await watch.begin(path, user, recursive=recursive, include_entry=include_entry)
        return watch

    async def connect(self, port: int) -> Connection:
        """Dials a port of the sandbox's own loopback; the connection is the caller's to close.

        Args:
            port: 1 to 65,535.

        Raises:
            AgentError: `not_found`: nothing listens there.
        """
        return await self._machine.ask("connect", _connected, descriptor=True, abandon=Connection.close, port=port)

    async def accept(self, port: int) -> Connection:
        """Waits for a process inside to dial a port of its loopback; the connection is the caller's to close.

        Args:
            port: 1 to 65,535. From the first call on something listens there, and a later one's is not looked at.

        Raises:
            AgentError: The port is taken, or the sandbox has no descriptor left.
        """
        return await self._machine.ask("accept", _connected, descriptor=True, abandon=Connection.close, port=port)


def _succeeded(task: asyncio.Task[Any]) -> bool:
    return not task.cancelled() and task.exception() is None


def _nothing(told: Any, _: int | None) -> None:
    expect_nothing(told)


def _entry(told: Any, _: int | None) -> Entry:
    return parse_entry(told)


def _opened(told: Any, descriptor: int | None) -> tuple[int, Entry]:
    return check_file(descriptor), parse_entry(told)


def _close(opened: tuple[int, Entry]) -> None:
    os.close(opened[0])


def _connected(_: Any, descriptor: int | None) -> Connection:
    return check_socket(descriptor)
