"""A process inside a sandbox, as the daemon holds it: its streams, and the future of its end."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from e2b_magic.embedded.containment.identity import Identity
from e2b_magic.embedded.sandbox.channel import OUT_OF_DESCRIPTORS, Violation
from e2b_magic.embedded.sandbox.entries import AgentError

_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended: by itself with a code, or by a signal.

    Attributes:
        code: The exit code, 0 to 255; None when a signal ended it.
        signal: The signal's number; None when it ended by itself.
    """

    code: int | None
    signal: int | None


@dataclass(slots=True)
class Streams:
    """The daemon's ends of a process's streams, and the other ends until they are sent.

    A pipe's two ends, and a socket pair's, are open file descriptions of their own. So ours stay non-blocking
    whatever a process does to its own.

    Attributes:
        stdin: To write to; None when there is none.
        stdout: To read; of a terminal, all its output.
        stderr: To read; -1 when a terminal has no such stream.
        given: The other ends, in the order that the agent expects.
    """

    stdin: int | None
    stdout: int
    stderr: int
    given: list[int]

    @classmethod
    def pipes(cls, *, stdin: bool, owner: Identity | None) -> Self:
        """Makes pipes, which a process may reopen by name (`/dev/stdout`), whoever the daemon is.

        Args:
            stdin: Whether there is a standard input.
            owner: Who the sandbox runs as, if not as the daemon.

        Raises:
            AgentError: `exhausted`: the daemon has no descriptor left.
        """
        with ExitStack() as unless_made, _as_agent_errors():
            reading, writing = _pipe(owner, unless_made) if stdin else (None, None)
            out, out_end = _pipe(owner, unless_made)
            error, error_end = _pipe(owner, unless_made)
            for own in (out, error) if writing is None else (out, error, writing):
                os.set_blocking(own, False)
            unless_made.pop_all()
        return cls(writing, out, error, [*([] if reading is None else [reading]), out_end, error_end])

    @classmethod
    def terminal(cls) -> Self:
        """Makes the socket pair over which the agent relays a terminal.

        Raises:
            AgentError: `exhausted`: the daemon has no descriptor left.
        """
        with ExitStack() as unless_made, _as_agent_errors():
            own, given = socket.socketpair()
            unless_made.callback(own.close)
            unless_made.callback(given.close)
            own.setblocking(False)
            # Two descriptors, so that reading and writing can be waited for, and closed, apart.
            reading = os.dup(own.fileno())
            unless_made.pop_all()
        return cls(own.detach(), reading, -1, [given.detach()])

    def close(self) -> None:
        """Closes the daemon's ends."""
        for descriptor in (self.stdin, self.stdout, self.stderr):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)
        self.stdin, self.stdout, self.stderr = None, -1, -1


def _pipe(owner: Identity | None, closing: ExitStack) -> tuple[int, int]:
    ends = os.pipe2(os.O_CLOEXEC)
    for end in ends:
        closing.callback(os.close, end)
    if owner is not None:
        os.fchown(ends[0], owner.uid, owner.gid)
    return ends


@contextmanager
def _as_agent_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise AgentError("exhausted", OUT_OF_DESCRIPTORS) from error


@dataclass(slots=True)
class Process:
    """A process that was started inside.

    Attributes:
        pid: Its id inside the sandbox.
        stdin: The descriptor of its standard input; None for none. Who closes it sets it to None.
        stdout: The descriptor of its standard output, or of its terminal's output.
        stderr: The descriptor of its standard error; -1 for a terminal.
        exited: How it ended. When the sandbox ends first, as if by SIGKILL, which it is.
    """

    pid: int
    stdin: int | None
    stdout: int
    stderr: int
    exited: asyncio.Future[ExitStatus] = field(repr=False)

    def close(self) -> None:
        """Closes the descriptors that are still open; closing twice is no mistake."""
        for descriptor in (self.stdin, self.stdout, self.stderr):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)
        self.stdin, self.stdout, self.stderr = None, -1, -1


def parse_pid(told: Any) -> int:
    """Gives the process id in an answer.

    Raises:
        Violation: It is none.
    """
    if not isinstance(told, dict) or type(pid := told.get("pid")) is not int or not 1 < pid <= _MOST:
        raise Violation("a process id is none")
    return pid


def parse_exit(told: dict[str, Any]) -> tuple[int, ExitStatus]:
    """Gives who ended, and how.

    Raises:
        Violation: The message does not say.
    """
    pid, code, signal = told.get("exit"), told.get("code"), told.get("signal")
    if type(pid) is not int:
        raise Violation("an unasked message tells of no process's end")
    if type(code) is int and signal is None and 0 <= code <= 255:
        return pid, ExitStatus(code, None)
    if type(signal) is int and code is None and 0 < signal <= 64:
        return pid, ExitStatus(None, signal)
    raise Violation("a process ended neither by itself nor by a signal")
