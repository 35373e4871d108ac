"""One sandbox's way out: takes its connections, serves each, and cuts those that a change of rules no longer allows."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from contextlib import suppress

import h11

from e2b_magic.embedded.egress.exchange import Exchange, Message, read_message
from e2b_magic.embedded.egress.gateway import Gateway, Route
from e2b_magic.embedded.egress.lookups import Lookups
from e2b_magic.embedded.egress.policy import Policy
from e2b_magic.embedded.egress.refusals import Refusal
from e2b_magic.embedded.egress.relay import Pulse, relay, say_goodbye
from e2b_magic.embedded.egress.request import Request, read_inner_request, read_request
from e2b_magic.embedded.egress.streams import Encrypted, Plain, Stream
from e2b_magic.embedded.egress.transforms import Transform
from e2b_magic.embedded.sandbox.outward import Connection
from e2b_magic.embedded.sandbox.sandbox import AgentError, Sandbox

# Where programs inside find the proxy; E2B's own server inside is at 49983.
PORT = 49982
# What stays inside, and so needs no proxy.
_DIRECT = "localhost,127.0.0.1,::1"
# Seconds after which a sandbox that could not hand a connection out is asked again.
_PAUSE = 0.5
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_NO_AUTHORITY = (
    "the sandbox's rules put headers into requests to {}: for https:// the server needs `pip install e2b-magic[rules]`"
)

_log = logging.getLogger(__name__)


def proxy_variables() -> Mapping[str, str]:
    """Gives the variables that make programs inside use the proxy.

    In both spellings, for neither is understood by all (curl takes `http_proxy` in lower case alone). Node.js, from
    22.21 on, looks at them only if told to. Not `ALL_PROXY`: it is taken for SOCKS as often as for HTTP.
    """
    url = f"http://127.0.0.1:{PORT}"
    variables = {"HTTP_PROXY": url, "HTTPS_PROXY": url, "NO_PROXY": _DIRECT}
    lower = {name.lower(): value for name, value in variables.items()}
    return {**variables, **lower, "NODE_USE_ENV_PROXY": "1"}


class Egress:
    """A sandbox's way out.

    Args:
        contained: The sandbox.
        gateway: How sandboxes leave this machine.
        policy: The sandbox's rules.
    """

    def __init__(self, contained: Sandbox, gateway: Gateway, policy: Policy) -> None:
        bounds = gateway.bounds
        self.gateway = gateway
        self.policy = policy
        self.lookups = Lookups(gateway.look_up, most=bounds.lookups, timeout=bounds.lookup_seconds)
        self._contained = contained
        self._free = asyncio.Semaphore(bounds.connections)
        self._passages: dict[asyncio.Task[None], _Passage] = {}
        # The agent hears of it before it hears of any process to start: none can take the port, or miss the proxy.
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    def change(self, policy: Policy) -> None:
        """Puts other rules in force, and cuts every connection that they do not allow."""
        self.policy = policy
        for task, passage in self._passages.items():
            if not passage.allowed_by(policy):
                task.cancel()

    def close(self) -> None:
        """Takes no more connections, and cuts those that there are."""
        for task in (self._accepting, *self._passages):
            task.cancel()

    async def _accept(self) -> None:
        complained = False
        while True:
            await self._free.acquire()
            try:
                connection = await self._contained.accept(PORT)
            except AgentError as error:
                self._free.release()
                if error.code == "gone":
                    return
                if not complained:  # once: a sandbox must not fill the log
                    _log.warning(
                        "sandbox %s: the proxy takes no connection: %s", self._contained.sandbox_id, error.code
                    )
                complained = True
                await asyncio.sleep(_PAUSE)
                continue
            passage = _Passage(self, connection)
            task = asyncio.get_running_loop().create_task(passage.run())
            self._passages[task] = passage
            task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        # Here and not in the task, which may be cancelled before it has begun.
        self._passages.pop(task).close()
        self._free.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("sandbox %s: the proxy failed", self._contained.sandbox_id, exc_info=error)


class _Passage:
    """One connection from inside, from its request to its end."""

    def __init__(self, egress: Egress, inside: Connection) -> None:
        self._egress = egress
        self._connection = inside
        self._inside: Stream = Plain(inside)
        self._outside: Stream | None = None
        self._route: Route | None = None
        self._unseen = False
        self._pulse = Pulse(egress.gateway.bounds.idle_seconds)

    def allowed_by(self, policy: Policy) -> bool:
        """Whether rules allow what it leads to; what is not judged yet will be, by the rules then in force."""
        if self._route is None:
            return True
        if self._unseen and policy.transform(self._route.destination) is not None:
            return False  # what goes through arrives without what the rules put in
        if self._route.through != policy.proxy:
            return False  # it passes beside the proxy that all is to go through, or by one that is not meant any more
        return all(policy.refusal(self._route.destination, address) is None for address in self._route.judged)

    async def run(self) -> None:
        """Serves the connection, to its end if all goes well."""
        try:
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request = await self._read()
            if request is not None:
                await self._serve(request)
        except Refusal as refusal:
            await self._refuse(refusal)
        except (OSError, h11.ProtocolError):
            return  # a side left in the middle, or nothing moved for too long

    def close(self) -> None:
        """Breaks off what is still open; of what went well, nothing is."""
        self._inside.abort()
        if self._outside is not None:
            self._outside.abort()

    async def _read(self) -> Request | None:
        bounds = self._egress.gateway.bounds
        return await read_request(self._inside, limit=bounds.head_bytes, timeout=bounds.head_seconds)

    async def _serve(self, request: Request) -> None:
        # Read before anybody is dialled for it.
        message = None if request.tunnel else read_message(request)
        gateway = self._egress.gateway
        policy = self._egress.policy
        seen = policy.transform(request.destination) is not None
        self._unseen = request.tunnel and not seen
        if request.tunnel and seen and not gateway.authority.available:
            raise Refusal(501, _NO_AUTHORITY.format(request.destination.host))
        route = await gateway.route(request.destination, policy, self._egress.lookups)
        self._route = route
        if self._egress.policy is not policy and not self.allowed_by(self._egress.policy):
            raise Refusal(403, f"{request.destination} is not allowed any more: the sandbox's rules changed")
        outside = self._outside = await gateway.dial(route)
        self._pulse.beat()  # what it took to get there is no idleness
        if self._unseen:
            await self._tunnel(request, outside)
        elif message is None:
            await self._stand_in(request, route, outside)
        else:
            await self._exchange(message, outside, self._egress.policy.transform(request.destination))
        outside.close()
        await say_goodbye(self._inside)

    async def _stand_in(self, request: Request, route: Route, outside: Stream) -> None:
        """Serves one request in the destination's place, to put into it what the rules say."""
        gateway, bounds = self._egress.gateway, self._egress.gateway.bounds
        outside = self._outside = await gateway.encrypted(route, outside)
        context = await asyncio.to_thread(gateway.authority.context_for, str(request.destination.host))
        async with asyncio.timeout(bounds.head_seconds):
            await self._inside.send(_ESTABLISHED)
            inside = Encrypted(self._inside, context, came=request.rest)
            await inside.begin()
        self._inside = inside
        inner = await read_inner_request(
            inside, request.destination, limit=bounds.head_bytes, timeout=bounds.head_seconds
        )
        if inner is not None:
            self._pulse.beat()
            await self._exchange(read_message(inner), outside, self._egress.policy.transform(request.destination))

    async def _tunnel(self, request: Request, outside: Stream) -> None:
        async with asyncio.timeout(self._pulse.left):
            await self._inside.send(_ESTABLISHED)
            await outside.send(request.rest)
        await relay(self._inside, outside, self._pulse)

    async def _exchange(self, message: Message, outside: Stream, transform: Transform | None) -> None:
        exchange = Exchange(message, self._inside, outside, self._pulse, transform)
        try:
            await exchange.run()
        except (OSError, h11.ProtocolError) as error:
            if exchange.answered:
                raise
            if isinstance(error, TimeoutError):
                raise Refusal(504, f"{message.host.decode()} did not answer") from error
            raise Refusal(502, f"{message.host.decode()} did not answer in HTTP") from error

    async def _refuse(self, refusal: Refusal) -> None:
        with suppress(OSError):
            async with asyncio.timeout(self._egress.gateway.bounds.head_seconds):
                await self._inside.send(refusal.response())
            await say_goodbye(self._inside)
