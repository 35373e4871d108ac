"""Answers the daemon's requests, one function each, until the daemon closes its end."""

from __future__ import annotations

import os
import sys
from select import EPOLLIN

from e2b_magic.embedded.agent import confinement, files, ports, trees
from e2b_magic.embedded.agent.channel import Channel
from e2b_magic.embedded.agent.failures import Failure, as_failure
from e2b_magic.embedded.agent.loop import Loop
from e2b_magic.embedded.agent.oom_score import Order
from e2b_magic.embedded.agent.outlet import Outlet
from e2b_magic.embedded.agent.processes import Processes
from e2b_magic.embedded.agent.watching import Watching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Request = dict[str, Any]


class Agent:
    """One table from a request's name to what it does.

    Args:
        channel: Where requests come from.
        processes: The sandbox's processes.
        loop: The agent's loop.
    """

    def __init__(self, channel: Channel, processes: Processes, loop: Loop) -> None:
        self._channel = channel
        self._processes = processes
        self._loop = loop
        self._watching = Watching(loop)
        self._outlet = Outlet(loop)
        self._table: dict[str, Callable[[Request, list[int]], None]] = {
            "spawn": self._spawn,
            "set_environment": self._plain(lambda it: processes.set_environment(it["envs"])),
            "signal": self._plain(lambda it: processes.signal(it["pid"], it["number"])),
            "resize": self._plain(lambda it: processes.resize(it["pid"], it["columns"], it["rows"])),
            "kill": lambda it, _: processes.kill(it["pid"]),
            "kill_all": lambda _it, _: processes.kill_all(),
            "stat": self._plain(lambda it: files.tell(it["path"], it["user"])),
            "make_directory": self._plain(lambda it: trees.make_directory(it["path"], it["user"])),
            "set_metadata": self._plain(lambda it: files.set_metadata(it["path"], it["user"], it["metadata"])),
            "list_directory": self._long(lambda it: trees.list_directory(it["path"], it["user"], it["depth"])),
            "remove": self._long(lambda it: trees.remove(it["path"], it["user"])),
            "move": self._long(lambda it: trees.move(it["source"], it["destination"], it["user"])),
            "open_read": self._open(lambda it: files.open_read(it["path"], it["user"])),
            "open_write": self._open(lambda it: files.open_write(it["path"], it["user"], it["metadata"])),
            "connect": self._handing_out(lambda it, answer: ports.connect(loop, it["port"], answer)),
            "accept": self._handing_out(lambda it, answer: self._outlet.accept(it["port"], answer)),
            "watch": self._long(self._watch),
            "events": self._events,
            "remove_watch": self._plain(lambda it: self._watching.remove(it["watch"])),
            "forget_watch": lambda it, _: self._watching.forget(it["watch"]),
        }
        loop.watch(channel.fileno(), EPOLLIN, self._answer)

    def _answer(self) -> None:
        received = self._channel.receive()
        if received is None:
            # Not `sys.exit`: nothing that Python would still do matters, and pid 1 takes all others with it.
            os._exit(0)
        request, descriptors = received
        try:
            # First: what is asked now may be about a directory that is not watched before its event is read.
            self._watching.drain()
            self._table[request["do"]](request, descriptors)
        except Exception as error:  # noqa: BLE001 - the agent is pid 1: what ends it ends the sandbox
            self._fail(request, as_failure(error))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _succeed(self, request: Request, result: Any, descriptor: int | None = None) -> None:
        self._channel.send({"id": request["id"], "result": result}, [] if descriptor is None else [descriptor])

    def _fail(self, request: Request, failure: Failure) -> None:
        error = {"code": failure.code, "message": failure.message}
        self._channel.send({"id": request["id"], "error": error})

    def _spawn(self, request: Request, descriptors: list[int]) -> None:
        self._succeed(request, self._processes.spawn(request, descriptors))

    def _plain(self, do: Callable[[Request], Any]) -> Callable[[Request, list[int]], None]:
        return lambda request, _: self._succeed(request, do(request))

    def _long(self, do: Callable[[Request], Iterator[Any]]) -> Callable[[Request, list[int]], None]:
        return lambda request, _: self._loop.carry_on(self._steps(request, do(request)))

    def _steps(self, request: Request, work: Iterator[Any]) -> Iterator[None]:
        """Steps through long work; what it yields last is its result."""
        result = None
        try:
            for step in work:
                result = step
                yield
        except Exception as error:  # noqa: BLE001 - see `_answer`
            self._fail(request, as_failure(error))
        else:
            self._succeed(request, result)

    def _open(self, do: Callable[[Request], tuple[int, Any]]) -> Callable[[Request, list[int]], None]:
        def answer(request: Request, _: list[int]) -> None:
            descriptor, entry = do(request)
            # Directories may have been made for it; what the daemon writes is to be seen in them.
            self._watching.drain()
            try:
                self._succeed(request, entry, descriptor)
            finally:
                os.close(descriptor)

        return answer

    def _handing_out(
        self, do: Callable[[Request, Callable[[int | Failure], None]], None]
    ) -> Callable[[Request, list[int]], None]:
        """Gives what answers with a descriptor, or a failure, once there is one."""

        def answer(request: Request, outcome: int | Failure) -> None:
            if isinstance(outcome, Failure):
                self._fail(request, outcome)
            else:
                self._succeed(request, None, outcome)

        return lambda request, _: do(request, lambda outcome: answer(request, outcome))

    def _watch(self, request: Request) -> Iterator[None]:
        return self._watching.create(
            request["watch"],
            request["path"],
            request["user"],
            recursive=request["recursive"],
            include_entry=request["include_entry"],
        )

    def _events(self, request: Request, _: list[int]) -> None:
        def answer(outcome: list[dict[str, Any]] | Failure) -> None:
            if isinstance(outcome, Failure):
                self._fail(request, outcome)
            else:
                self._succeed(request, outcome)

        self._watching.next(request["watch"], answer, wait=request["wait"])


def main(descriptor: int) -> None:
    """Runs the agent on the socket that bubblewrap was started with."""
    channel = Channel(descriptor)
    received = channel.receive()
    if received is None:
        return
    settings, _ = received
    confinement.settle()
    order = Order()
    if settings["undumpable"]:
        confinement.become_undumpable()
    confinement.limit(settings["limits"])
    loop = Loop()
    Agent(channel, Processes(loop, channel, settings["path"], settings["envs"], order), loop)
    channel.send({"ready": True})
    loop.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
