"""The machine's side of the way out: judges addresses, and dials the very ones that it has judged."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from e2b_magic.embedded.egress.addresses import Guard, parse_networks
from e2b_magic.embedded.egress.authority import Authority
from e2b_magic.embedded.egress.destination import Address, Destination
from e2b_magic.embedded.egress.lookups import LookUp, Lookups, system_look_up
from e2b_magic.embedded.egress.policy import Policy
from e2b_magic.embedded.egress.refusals import Refusal
from e2b_magic.embedded.egress.socks import SocksProxy
from e2b_magic.embedded.egress.streams import Encrypted, Plain, Stream, trusted_by_this_machine
from e2b_magic.embedded.egress.upstream import UpstreamProxy
from e2b_magic.exceptions import ConfigurationError

ADMIT = "E2B_MAGIC_EGRESS_ADMIT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one sandbox may ask of its proxy.

    Attributes:
        connections: Connections at once; more wait, in the sandbox's kernel.
        lookups: Names that are looked up at once.
        head_bytes: Bytes of a request's head.
        head_seconds: Seconds that a head has to arrive.
        lookup_seconds: Seconds that a name has to be resolved.
        dial_seconds: Seconds that a destination has to answer.
        idle_seconds: Seconds without a byte either way after which a connection is cut.
    """

    connections: int = 256
    lookups: int = 8
    head_bytes: int = 16 * 1024
    head_seconds: float = 15.0
    lookup_seconds: float = 15.0
    dial_seconds: float = 15.0
    idle_seconds: float = 900.0


@dataclass(frozen=True, slots=True)
class Route:
    """A way to a destination that was judged, and may be taken.

    Attributes:
        destination: What was asked for.
        addresses: What may be dialled: each has been judged. Empty where a proxy resolves the name.
        upstream: The machine's own proxy, to go through; None for none.
        proxy: The sandbox's own, to go through, and the way there; None for none.
    """

    destination: Destination
    addresses: Sequence[Address]
    upstream: UpstreamProxy | None
    proxy: tuple[SocksProxy, Route] | None = None

    @property
    def through(self) -> SocksProxy | None:
        """The sandbox's own proxy that it goes through; None for none."""
        return self.proxy[0] if self.proxy is not None else None

    @property
    def judged(self) -> Sequence[Address | None]:
        """What rules are checked on; None where no address is known."""
        return self.addresses or (None,)

    @property
    def targets(self) -> Sequence[str | Address]:
        """What is dialled, one after the other: the addresses, or the name where a proxy gets that."""
        resolves = not self.addresses if self.proxy else self.upstream is not None and self.upstream.resolves
        return [self.destination.host] if resolves else self.addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """How sandboxes leave this machine.

    Attributes:
        guard: Which addresses none may reach.
        look_up: Gives a name's addresses.
        upstream: The proxy that this machine has to use itself; None for none.
        bounds: What each sandbox may ask of it.
        authority: What makes certificates in the place of hosts.
        trust: Gives what judges hosts' own certificates.
    """

    guard: Guard = field(default_factory=Guard)
    look_up: LookUp = system_look_up
    upstream: UpstreamProxy | None = None
    bounds: Bounds = field(default_factory=Bounds)
    authority: Authority = field(default_factory=Authority)
    trust: Callable[[], ssl.SSLContext] = trusted_by_this_machine

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Gateway:
        """Gives the gateway that this machine's user wants.

        Args:
            environment: `E2B_MAGIC_EGRESS_ADMIT`, the networks that are let pass although they are forbidden; and what
                `UpstreamProxy.from_environment` reads.

        Raises:
            ConfigurationError: A setting cannot be read.
        """
        try:
            admitted = parse_networks(environment.get(ADMIT, ""))
        except ValueError as error:
            meant = "networks separated by commas, such as 10.1.0.0/16"
            raise ConfigurationError(f"{ADMIT} must hold {meant}: {error}") from error
        return cls(guard=Guard(admitted), upstream=UpstreamProxy.from_environment(environment))

    async def route(self, destination: Destination, policy: Policy, lookups: Lookups) -> Route:
        """Gives the way to a destination, its addresses looked up and judged.

        A name with one address that no sandbox may reach is refused whole: it is not the public name that it looks
        like, and which of its addresses a client would have got is chance.

        Args:
            destination: What is asked for.
            policy: The sandbox's rules.
            lookups: What looks names up for it.

        Raises:
            Refusal: 403, by the sandbox's rules or this machine's; 502 and 504 for a name that is not resolved.
        """
        if (line := policy.refusal_unresolved(destination)) is not None:
            raise Refusal(403, line)
        if policy.proxy is not None:
            return await self._by_proxy(policy.proxy, destination, policy, lookups)
        upstream = self.upstream if self.upstream is not None and self.upstream.serves(destination) else None
        try:
            addresses = await self._addresses(destination, lookups)
        except Refusal:
            if upstream is None or not upstream.resolves:
                raise
            # The proxy alone knows the name: what it leads to is the proxy's to judge.
            if (line := policy.refusal(destination, None)) is not None:
                raise Refusal(403, line) from None
            return Route(destination, (), upstream)
        return Route(destination, self._judged(destination, addresses, policy), upstream)

    async def check(self, policy: Policy) -> None:
        """Sees whether a sandbox's own proxy lies where one may.

        It is judged again at each connection, for a name may come to mean another address; but a creator who has named
        a wrong one learns it at once.

        Args:
            policy: The sandbox's rules.

        Raises:
            Refusal: As `route` has it.
        """
        if policy.proxy is not None:
            lookups = Lookups(self.look_up, most=1, timeout=self.bounds.lookup_seconds)
            await self.route(policy.proxy.destination, Policy(), lookups)

    async def _by_proxy(self, proxy: SocksProxy, destination: Destination, policy: Policy, lookups: Lookups) -> Route:
        """Gives the way through a sandbox's own proxy, whose address is judged at each connection like any other.

        As at E2B a name that is allowed by name is the proxy's to resolve, and all else is judged by its address here.
        """
        way = await self.route(proxy.destination, Policy(), lookups)
        if policy.allows_name(destination):
            return Route(destination, (), None, (proxy, way))
        addresses = await self._addresses(destination, lookups)
        return Route(destination, self._judged(destination, addresses, policy), None, (proxy, way))

    async def _addresses(self, destination: Destination, lookups: Lookups) -> Sequence[Address]:
        if isinstance(destination.host, str):
            return await lookups.addresses(destination.host)
        return [destination.host]

    def _judged(self, destination: Destination, addresses: Sequence[Address], policy: Policy) -> Sequence[Address]:
        for address in addresses:
            if (line := self.guard.refusal(address)) is not None:
                name = f"{destination.host} leads to a forbidden address: " if destination.host != address else ""
                raise Refusal(403, name + line)
        refused = {address: policy.refusal(destination, address) for address in addresses}
        allowed = [address for address in addresses if refused[address] is None]
        if not allowed:
            raise Refusal(403, str(refused[addresses[0]]))
        return allowed

    async def dial(self, route: Route) -> Stream:
        """Gives a connection along a way that was judged.

        Raises:
            Refusal: 502 for a destination that refuses, 504 for one that does not answer.
        """
        deadline = time.monotonic() + self.bounds.dial_seconds
        problem: OSError | Refusal = TimeoutError()
        for number, target in enumerate(route.targets):
            # What is left is shared by the addresses that are left: one that never answers must not use it all up.
            share = (deadline - time.monotonic()) / (len(route.targets) - number)
            try:
                async with asyncio.timeout(max(share, 0)):
                    if route.proxy is not None:
                        return await self._dial_by(route.proxy, route, target)
                    return Plain(await _dial(route, target))
            except (OSError, Refusal) as error:
                problem = error
        raise _unreached(route.destination, problem, self.bounds.dial_seconds)

    async def encrypted(self, route: Route, stream: Stream) -> Stream:
        """Gives TLS to a destination, as a client there would have it.

        Raises:
            Refusal: 502 for one that has another's certificate, does not speak TLS, or breaks off; 504 for one that is
                silent.
        """
        encrypted = Encrypted(stream, self.trust(), str(route.destination.host))
        try:
            async with asyncio.timeout(self.bounds.dial_seconds):
                await encrypted.begin()
        except ssl.SSLCertVerificationError as error:
            why = f"its certificate is not trusted: {error.verify_message}"
            raise Refusal(502, f"{route.destination} is not spoken to, for {why}") from error
        except ssl.SSLError as error:
            raise Refusal(502, f"{route.destination} does not speak TLS, from version 1.2 on") from error
        except TimeoutError:
            raise Refusal(504, f"{route.destination} did not answer") from None
        except OSError as error:
            raise Refusal(502, f"{route.destination} broke the connection off") from error
        return encrypted

    async def _dial_by(self, proxy: tuple[SocksProxy, Route], route: Route, target: str | Address) -> Stream:
        socks, way = proxy
        stream = await self.dial(way)
        try:
            stream = await socks.encrypted(stream)
            await socks.ask(stream, target, route.destination.port)
        except BaseException:
            stream.close()
            raise
        return stream


async def _dial(route: Route, target: str | Address) -> socket.socket:
    if route.upstream is not None:
        return await route.upstream.dial(target, route.destination.port)
    family = socket.AF_INET if isinstance(target, ipaddress.IPv4Address) else socket.AF_INET6
    connection = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connection, (str(target), route.destination.port))
    except BaseException:
        connection.close()
        raise
    return connection


def _unreached(destination: Destination, problem: OSError | Refusal, seconds: float) -> Refusal:
    if isinstance(problem, Refusal):  # the machine's own proxy has said why
        return problem
    if isinstance(problem, TimeoutError):  # the kernel's own ETIMEDOUT is one too
        return Refusal(504, f"{destination} did not answer within {seconds:g} seconds")
    if problem.errno in (errno.EMFILE, errno.ENFILE):
        return Refusal(503, "the embedded server has too many files open: try again when it has less to do")
    number = problem.errno or 0  # below 0 are the resolver's own numbers
    reason = os.strerror(number).lower() if number > 0 else "no way leads there"
    return Refusal(502, f"{destination} cannot be reached: {reason}")
