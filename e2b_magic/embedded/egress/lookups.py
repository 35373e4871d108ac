"""A name's addresses, a bounded number of lookups at a time."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from e2b_magic.embedded.egress.destination import Address
from e2b_magic.embedded.egress.refusals import Refusal

LookUp = Callable[[str], Sequence[Address]]


def system_look_up(name: str) -> list[Address]:
    """Gives a name's addresses, as this machine's resolver knows them; waits for it.

    Raises:
        OSError: It knows none, or does not answer.
    """
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    # An address with a scope (`fe80::1%eth0`) comes with it in a field of its own; it is link-local all the same.
    told = [ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found]
    return list(dict.fromkeys(_plain(address) for address in told))


def _plain(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


class Lookups:
    """Looks names up for one sandbox.

    Each lookup has a thread of its own, which the system's resolver may hold for half a minute. A pool for all would
    let one sandbox's slow names stop the lookups of others.

    Args:
        look_up: Gives a name's addresses, and waits for them.
        most: Lookups at once.
        timeout: Seconds that a name has, the wait for its turn included.
    """

    def __init__(self, look_up: LookUp, *, most: int, timeout: float) -> None:
        self._look_up = look_up
        self._turns = asyncio.Semaphore(most)
        self._timeout = timeout

    async def addresses(self, name: str) -> Sequence[Address]:
        """Gives a name's addresses: one at least.

        Raises:
            Refusal: 502 for a name that has none, 504 for a resolver that does not answer in time, 503 for a machine
                that cannot even ask.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._turns.acquire()
                found = await self._start(name)
        except TimeoutError:
            raise Refusal(504, f"{name} was not resolved within {self._timeout:g} seconds") from None
        except OSError as error:
            raise Refusal(502, f"{name} cannot be resolved: {error.strerror or 'no answer'}") from error
        if not found:
            raise Refusal(502, f"{name} has no address")
        return found

    def _start(self, name: str) -> asyncio.Future[Sequence[Address]]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[Address]] = loop.create_future()

        def finish(found: Sequence[Address] | None, error: Exception | None) -> None:
            # Only now, whoever still waits: a thread that hangs keeps its turn.
            self._turns.release()
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(found or ())

        def work() -> None:
            found, failed = None, None
            try:
                found = self._look_up(name)
            except Exception as error:  # noqa: BLE001 - handed to who asked
                failed = error
            with suppress(RuntimeError):  # a server that has ended meanwhile has closed its loop
                loop.call_soon_threadsafe(finish, found, failed)

        try:
            # A daemon thread: the server's end does not wait for a resolver.
            threading.Thread(target=work, name="lookup", daemon=True).start()
        except RuntimeError as error:
            self._turns.release()
            raise Refusal(503, f"{name} cannot be looked up now: the machine has no thread left") from error
        return answer
