"""Starts processes, tells of their ends, and reaps everything, as pid 1 must.

The agent, which has one thread, steps into a program's working directory and back: what is wrong with it, it can tell
before there is a process.
"""

from __future__ import annotations

import os

# `signal` itself brings in `enum`: 5 ms of every start.
from _signal import (  # type: ignore[import-not-found]  # typeshed does not describe it
    SIG_IGN,
    SIGCHLD,
    SIGINT,
    SIGKILL,
    set_wakeup_fd,
    signal,
)
from select import EPOLLIN

from e2b_magic.embedded.agent.failures import Failure, of_system
from e2b_magic.embedded.agent.starting import start
from e2b_magic.embedded.agent.terminals import Relay, set_size
from e2b_magic.embedded.agent.users import home_of, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from e2b_magic.embedded.agent.channel import Channel
    from e2b_magic.embedded.agent.loop import Loop
    from e2b_magic.embedded.agent.oom_score import Order


def find_program(name: str, path: str) -> str:
    """Gives the program that a name stands for, by a search path if it holds no slash.

    Raises:
        Failure: `not_found`.
    """
    if "/" in name:
        return name
    for directory in path.split(":"):
        candidate = f"{directory or '.'}/{name}"
        if os.access(candidate, os.X_OK):
            return candidate
    raise Failure("not_found", f"program '{name}' is not on the PATH")


class Processes:
    """The processes that the daemon asked for.

    Args:
        loop: The agent's loop.
        channel: Where ends are told.
        path: The PATH they start with.
        envs: The sandbox's own variables.
        order: In which they go when memory runs out.
    """

    def __init__(self, loop: Loop, channel: Channel, path: str, envs: Mapping[str, str], order: Order) -> None:
        self._loop = loop
        self._order = order
        self._channel = channel
        self._path = path
        self._envs = envs
        self._running: set[int] = set()
        self._terminals: dict[int, Relay] = {}
        self._awake, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # A full pipe wakes as well as a fuller one.
        set_wakeup_fd(waker, warn_on_full_buffer=False)
        # Python would turn it into a KeyboardInterrupt; all other signals from inside, the kernel keeps from pid 1.
        signal(SIGINT, SIG_IGN)
        signal(SIGCHLD, lambda _number, _frame: None)
        loop.watch(self._awake, EPOLLIN, self._reap)

    def spawn(self, request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        """Starts a program in a session of its own.

        Args:
            request: `argv`, `envs`, `cwd`, `user`, `terminal` (columns and rows, or None).
            descriptors: Standard input (left out for none), output and error; for a terminal, its socket alone.

        Raises:
            Failure: It could not be started.
        """
        environment = self._environment(request["user"], request["envs"])
        program = find_program(request["argv"][0], environment["PATH"])
        self._enter(request["cwd"], request["user"])
        try:
            if request["terminal"]:
                return {"pid": self._spawn_on_terminal(program, request, environment, descriptors.pop())}
            if not request["stdin"]:
                descriptors = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), *descriptors]
            try:
                return {"pid": self._start(program, request["argv"], environment, lambda: _take(descriptors))}
            finally:
                if not request["stdin"]:
                    os.close(descriptors[0])
        finally:
            os.chdir("/")

    def set_environment(self, envs: Mapping[str, str]) -> None:
        """Replaces the sandbox's own variables, for what is started from now on."""
        self._envs = envs

    def _environment(self, user: str, envs: Mapping[str, str]) -> dict[str, str]:
        user = user or "user"
        own = {"PATH": self._path, "HOME": home_of(user), "USER": user, "LOGNAME": user}
        return {**own, "SHELL": "/bin/bash", "LANG": "C.UTF-8", **self._envs, **envs}

    def _enter(self, cwd: str | None, user: str) -> None:
        directory = resolve(cwd or "", user)
        try:
            os.chdir(directory)
        except FileNotFoundError:
            raise Failure("invalid_argument", f"cwd '{cwd or directory}' does not exist") from None
        except NotADirectoryError:
            raise Failure("invalid_argument", f"cwd '{cwd or directory}' is not a directory") from None
        except OSError as error:
            raise of_system(error, directory) from None

    def _start(
        self, program: str, argv: list[str], environment: dict[str, str], take_streams: Callable[[], None]
    ) -> int:
        try:
            pid = start(program, argv, environment, take_streams, self._order)
        except BlockingIOError:
            raise Failure(
                "exhausted", "the sandbox has as many processes as it may have: end some, or the sandbox"
            ) from None
        except OSError as error:
            raise of_system(error, program) from None
        self._running.add(pid)
        return pid

    def _spawn_on_terminal(self, program: str, request: dict[str, Any], envs: dict[str, str], socket: int) -> int:
        try:
            master, slave = os.openpty()
        except OSError as error:
            os.close(socket)
            raise of_system(error, "/dev/ptmx") from None

        def take_streams() -> None:
            # The first terminal that a session's leader opens becomes its controlling one.
            _take([os.open(os.ttyname(slave), os.O_RDWR)] * 3)

        try:
            set_size(slave, *request["terminal"])
            pid = self._start(program, request["argv"], envs, take_streams)
        except Failure:
            os.close(master)
            os.close(socket)
            raise
        finally:
            os.close(slave)
        self._terminals[pid] = Relay(self._loop, master, socket)
        return pid

    def signal(self, pid: int, number: int) -> None:
        """Signals one process, not its group; it is not yet reaped, so the id cannot mean another.

        Raises:
            Failure: `not_found`, or `invalid_argument` for no such signal.
        """
        if pid not in self._running:
            raise Failure("not_found", f"process with pid {pid} not found")
        try:
            os.kill(pid, number)
        except OSError as error:
            raise of_system(error, f"signal {number}") from None

    def kill(self, pid: int) -> None:
        """Kills a process that nobody wants any more, if it still runs."""
        if pid in self._running:
            os.kill(pid, SIGKILL)

    def resize(self, pid: int, columns: int, rows: int) -> None:
        """Gives a process's terminal another size.

        Raises:
            Failure: `not_found`, or `invalid_argument` when it has no terminal.
        """
        if pid not in self._running:
            raise Failure("not_found", f"process with pid {pid} not found")
        relay = self._terminals.get(pid)
        if relay is None or relay.closed:
            raise Failure("invalid_argument", f"process {pid} has no terminal")
        set_size(relay.master, columns, rows)

    def kill_all(self) -> None:
        """Kills every process of the sandbox but the agent."""
        try:
            os.kill(-1, SIGKILL)
        except ProcessLookupError:
            return  # none was there

    def _reap(self) -> None:
        os.read(self._awake, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._running:
                self._running.remove(pid)
                self._terminals.pop(pid, None)
                code = os.waitstatus_to_exitcode(status)
                killed = code < 0
                self._channel.send({"exit": pid, "code": None if killed else code, "signal": -code if killed else None})


def _take(descriptors: list[int]) -> None:
    """Makes these the standard streams; all are above 2, where the agent has its own: none is lost before its turn."""
    for wanted, own in enumerate(descriptors):
        os.dup2(own, wanted)
