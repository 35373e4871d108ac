"""Starts a program in a process of its own, so that it can be killed for want of memory and the agent not with it.

Not by `posix_spawn`, which takes 0.8 ms less: until a program has begun, its process would share the
agent's memory, so the kernel would spare it and kill the agent; and on a busy machine the program would have run for
milliseconds, and started others, before the agent could go on and say who is to be killed first.
"""

from __future__ import annotations

import os

# `signal` itself brings in `enum`: 5 ms of every start.
from _signal import (  # type: ignore[import-not-found]  # typeshed does not describe it
    SIG_DFL,
    SIG_SETMASK,
    SIGKILL,
    SIGSTOP,
    pthread_sigmask,
    signal,
)

from e2b_magic.embedded.agent.failures import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from e2b_magic.embedded.agent.oom_score import Order

# All but those that nobody can handle; those from 32 up are never ignored by inheritance.
_DEFAULTED = [number for number in range(1, 32) if number not in (SIGKILL, SIGSTOP)]


def start(
    program: str, argv: list[str], environment: dict[str, str], take_streams: Callable[[], None], order: Order
) -> int:
    """Gives the process id of a program that has begun, in a session of its own.

    Args:
        program: Its path.
        argv: Its name and arguments.
        environment: Its variables.
        take_streams: Called in the new process: puts its streams where a program expects them.
        order: In which processes go when memory runs out.

    Raises:
        OSError: It could not be started.
        Failure: `invalid_argument`: no program can be given such arguments.
    """
    told, telling = os.pipe2(os.O_CLOEXEC)
    try:
        order.lend()
        try:
            pid = os.fork()
            if pid == 0:
                _become(program, argv, environment, take_streams, order, telling)
        finally:
            order.restore()
            os.close(telling)
        failure = os.read(told, 4096).decode()  # nothing, and its end, once the program has begun
    finally:
        os.close(told)
    if failure.isdigit():
        raise OSError(int(failure), os.strerror(int(failure)), program)
    if failure:
        raise Failure("invalid_argument", f"the command cannot be started: {failure}")
    order.make_expendable(pid)
    return pid


def _become(
    program: str,
    argv: list[str],
    environment: dict[str, str],
    take_streams: Callable[[], None],
    order: Order,
    telling: int,
) -> NoReturn:
    """Turns a process that is the agent's copy into a program, or tells why not and ends."""
    try:
        order.restore()
        os.setsid()
        take_streams()
        for number in _DEFAULTED:
            signal(number, SIG_DFL)
        pthread_sigmask(SIG_SETMASK, ())
        os.execve(program, argv, environment)  # noqa: S606 - what was asked for
    except OSError as error:
        os.write(telling, str(error.errno).encode())
    except ValueError as error:
        os.write(telling, ascii(str(error)).encode())
    finally:
        os._exit(127)
