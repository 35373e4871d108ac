"""A SOCKS5 proxy of a sandbox's creator: all that is allowed goes through it, and nothing past it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import httpx
import pytest
from e2b import Sandbox

from e2b_magic.embedded.egress.addresses import Guard
from e2b_magic.embedded.egress.gateway import Gateway
from tests.embedded.in_process import InProcess

from .conftest import ALL, FORBIDDEN, OTHER, PUBLIC, Listener, Serving, Speak

pytestmark = pytest.mark.sandbox


class Socks:
    """A SOCKS5 proxy on the host that notes what it is asked, answers, and then is the destination itself.

    Attributes:
        port: Its port.
        asked: What each connection asked for: the type of the address, the address, the port.
        told: The usernames and passwords that it was told.
        reply: What it answers to each.
    """

    def __init__(self, address: str = PUBLIC) -> None:
        self._listening = socket.create_server((address, 0))
        self.port: int = self._listening.getsockname()[1]
        self.asked: list[tuple[int, bytes, int]] = []
        self.told: list[tuple[bytes, bytes]] = []
        self.reply = 0
        self.visits = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.visits += 1
            with connection, connection.makefile("rb") as said:
                connection.settimeout(30)
                self._answer(connection, said.read)

    def _answer(self, connection: socket.socket, read: Callable[[int], bytes]) -> None:
        _, count = read(2)
        method = read(count)[0]
        connection.sendall(bytes([5, method]))
        if method == 2:
            user = read(read(2)[1])
            self.told.append((user, read(read(1)[0])))
            connection.sendall(bytes([1, 0 if self.told[-1] == (b"me", b"canary") else 1]))
        head = read(4)
        if len(head) < 4:
            return
        host = read({1: 4, 4: 16}[head[3]] if head[3] != 3 else read(1)[0])
        self.asked.append((head[3], host, int.from_bytes(read(2), "big")))
        connection.sendall(
            bytes([5, self.reply, 0, 3, 1]) + b"x" + bytes(2) + (b"" if self.reply else b"by the proxy\n")
        )

    def close(self) -> None:
        """Ends it."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(30)


@pytest.fixture
def socks() -> Iterator[Socks]:
    """Gives a proxy in what the gateways take for the internet."""
    with closing(Socks()) as proxy:
        yield proxy


def _proxied(served: InProcess, port: int, host: str = PUBLIC, **network: Any) -> Speak:
    network["egress_proxy"] = {"address": f"{host}:{port}", "username": "me", "password": "canary"}
    options: Any = {**served.options, "network": network}
    return Speak(Sandbox.create(**options))


def test_all_goes_through_it(served: InProcess, socks: Socks, public: Listener) -> None:
    """It is told who asks, and gets the address that was judged; nobody else is dialled."""
    speak = _proxied(served, socks.port)
    assert speak.connect("ok.test", 443).endswith(b"\r\n\r\nby the proxy\n")
    assert speak.connect(PUBLIC, public.port).endswith(b"by the proxy\n")
    packed = socket.inet_aton(PUBLIC)
    assert socks.asked == [(1, packed, 443), (1, packed, public.port)]
    assert socks.told == [(b"me", b"canary")] * 2
    assert public.visits == 0


def test_a_name_that_is_allowed_is_its_to_resolve(served: InProcess, socks: Socks, names: Any) -> None:
    """A name that `allow_out` names is not looked up here; what is not allowed does not get as far as the proxy."""
    speak = _proxied(served, socks.port, allow_out=["*.far.test"], deny_out=["0.0.0.0/0"])
    assert speak.connect("a.far.test", 443).endswith(b"by the proxy\n")
    assert socks.asked == [(3, b"a.far.test", 443)]
    assert speak.connect("ok.test", 443).startswith(b"HTTP/1.1 403 ")
    assert speak.connect(OTHER, 443).startswith(b"HTTP/1.1 403 ")
    assert len(socks.asked) == 1
    assert names.asked == []


def test_what_no_sandbox_may_reach_is_refused_before_it(served: InProcess, socks: Socks) -> None:
    """An address that is forbidden here is not asked for there either."""
    speak = _proxied(served, socks.port)
    for host in (FORBIDDEN, "inside.test", "169.254.169.254"):
        assert speak.connect(host, 80).startswith(b"HTTP/1.1 403 ")
    assert socks.visits == 0


def test_it_may_not_lie_where_no_sandbox_may_go(serving: Serving, gateway: Gateway) -> None:
    """A proxy on this machine, by address or by a name for it, is not dialled; but for the guard it would be."""
    with closing(Socks(FORBIDDEN)) as inside:
        for host in (FORBIDDEN, "inside.test"):
            answer = _proxied(serving(gateway), inside.port, host).connect("ok.test", 443)
            assert answer.startswith(b"HTTP/1.1 403 ")
        assert inside.visits == 0
        unguarded = serving(replace(gateway, guard=Guard(ALL)))
        assert _proxied(unguarded, inside.port).sandbox.kill()
        assert _proxied(unguarded, inside.port, FORBIDDEN).connect("ok.test", 443).endswith(b"by the proxy\n")


def test_nothing_goes_past_it(served: InProcess, socks: Socks, public: Listener) -> None:
    """A proxy that refuses, speaks something else or is not there is a failure, and no way around is taken."""
    speak = _proxied(served, socks.port)
    socks.reply = 2
    assert b"its own rules forbid it" in speak.connect("ok.test", public.port)
    wrong: Any = {"address": f"{PUBLIC}:{socks.port}", "username": "me", "password": "wrong"}
    speak.sandbox.update_network({"egress_proxy": wrong})
    assert b"refuses its username or password" in speak.connect("ok.test", public.port)
    speak.sandbox.update_network({"egress_proxy": {"address": f"{PUBLIC}:{public.port}"}})
    assert b"does not speak SOCKS5" in speak.connect("ok.test", public.port)
    speak.sandbox.update_network({"egress_proxy": {"address": f"{PUBLIC}:9"}})
    assert speak.connect("ok.test", public.port).startswith(b"HTTP/1.1 502 ")
    before = public.visits
    speak.sandbox.update_network({})
    assert b"hello" in speak.connect("ok.test", public.port)
    assert public.visits == before + 1


def test_its_password_is_told_by_nobody(served: InProcess, socks: Socks) -> None:
    """The details of a sandbox show its proxy, and not the password, which is in no repr and not inside either."""
    sandbox = _proxied(served, socks.port).sandbox
    with served.control() as control:
        told: httpx.Response = control.get(f"/sandboxes/{sandbox.sandbox_id}")
    assert told.json()["network"]["egressProxy"] == {"address": f"{PUBLIC}:{socks.port}", "username": "me"}
    record = served.sandboxes.record(sandbox.sandbox_id)
    assert record is not None
    assert "canary" not in repr(record.creation)
    assert "canary" not in sandbox.commands.run("cat /proc/*/environ | tr '\\0' '\\n'; true").stdout
