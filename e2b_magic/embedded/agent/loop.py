"""The agent's loop: waits on descriptors, and carries long work on, a slice at a time, between two waits.

Threads were the other way: they would cost an import, and a sandbox that is out of processes could not list a
directory any more.
"""

from __future__ import annotations

from select import EPOLL_CLOEXEC, epoll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Loop:
    """One epoll, the handlers of its descriptors, and the work that is under way."""

    def __init__(self) -> None:
        self._epoll = epoll(-1, EPOLL_CLOEXEC)
        self._handlers: dict[int, Callable[[], None]] = {}
        self._events: dict[int, int] = {}
        self._work: list[Iterator[None]] = []

    def watch(self, descriptor: int, events: int, handler: Callable[[], None]) -> None:
        """Has a handler called when one of these events is there; no events at all ends that.

        Args:
            descriptor: What to wait on.
            events: `select.EPOLLIN`, `select.EPOLLOUT` or both; 0 for none.
            handler: Called without arguments.
        """
        known = self._events.get(descriptor, 0)
        if events and not known:
            self._epoll.register(descriptor, events)
        elif events and events != known:
            self._epoll.modify(descriptor, events)
        elif known and not events:
            # Not `modify` to nothing: a hang-up would be told even then, again and again.
            self._epoll.unregister(descriptor)
            del self._events[descriptor], self._handlers[descriptor]
        if events:
            self._events[descriptor], self._handlers[descriptor] = events, handler

    def carry_on(self, work: Iterator[None]) -> None:
        """Takes long work on: each step of the iterator is one slice of it."""
        self._work.append(work)

    def run(self) -> None:
        """Runs until a handler raises."""
        while True:
            for descriptor, _ in self._epoll.poll(0 if self._work else -1):
                # An earlier handler of this round may have closed this one's descriptor.
                if handler := self._handlers.get(descriptor):
                    handler()
            self._work = [work for work in self._work if next(work, self) is not self]
