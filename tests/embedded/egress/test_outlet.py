"""The agent's part: it hands connections out one by one, and what it hands out is not believed."""

from __future__ import annotations

import asyncio
import importlib.util
import marshal
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from e2b_magic.embedded.containment import launcher as launcher_module
from e2b_magic.embedded.egress.gateway import Gateway
from e2b_magic.embedded.egress.policy import Policy
from e2b_magic.embedded.egress.proxy import PORT, Egress
from e2b_magic.embedded.sandbox.outward import Connection
from e2b_magic.embedded.sandbox.sandbox import AgentError, Sandbox

pytestmark = pytest.mark.sandbox

Start = Callable[..., Awaitable[Sandbox]]

SPEAK = "exec 3<>/dev/tcp/127.0.0.1/{port}; printf '%s\\n' {word} >&3; cat <&3"
# An agent that answers each question with a descriptor of its choice, and never with one that was handed to it.
LIE = """
import json, marshal, os, socket, sys, time
channel = socket.socket(fileno=int(sys.argv[1]))
channel.recv(65536)
channel.send(b"." + json.dumps({"ready": True}).encode())
while data := channel.recv(65536):
    request = marshal.loads(data[1:])
    if request["do"] == "accept":
        handed = %s
        socket.send_fds(channel, [b"." + json.dumps({"id": request["id"], "result": None}).encode()], [handed.fileno()])
        handed.close()
        time.sleep(0.05)
"""


def _lying(monkeypatch: pytest.MonkeyPatch, handed: str) -> None:
    packed = importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(compile(LIE % handed, "<lie>", "exec"))
    monkeypatch.setattr(launcher_module, "agent_bytecode", lambda: packed)


@pytest.fixture
async def contained(start: Start) -> Sandbox:
    """Gives a sandbox without a server."""
    return await start()


async def test_connections_are_handed_out_one_by_one(contained: Sandbox, run: Any) -> None:
    """Each question is answered with one connection, in whatever order question and connection come."""
    loop = asyncio.get_running_loop()
    first = asyncio.ensure_future(contained.accept(4000))
    await contained.stat("/", "user")  # it listens by now
    clients = [asyncio.ensure_future(run(contained, SPEAK.format(port=4000, word=word))) for word in ("one", "two")]
    heard = set()
    for accepted in (first, contained.accept(4000)):
        with await accepted as connection:
            heard.add(await loop.sock_recv(connection, 100))
            await loop.sock_sendall(connection, b"bye")
    assert heard == {b"one\n", b"two\n"}
    assert [ran.out for ran in await asyncio.gather(*clients)] == ["bye", "bye"]


async def test_a_question_that_is_given_up_takes_no_connection_along(contained: Sandbox, run: Any) -> None:
    """A connection that comes for somebody who has left is closed, and the next question gets the next one."""
    given_up = asyncio.ensure_future(contained.accept(4000))
    await contained.stat("/", "user")
    given_up.cancel()
    assert (await run(contained, SPEAK.format(port=4000, word="lost"))).out == ""
    next_one = asyncio.ensure_future(contained.accept(4000))
    client = asyncio.ensure_future(run(contained, SPEAK.format(port=4000, word="heard")))
    with await next_one as connection:
        assert await asyncio.get_running_loop().sock_recv(connection, 100) == b"heard\n"
    await client


async def test_a_taken_port_is_told(contained: Sandbox) -> None:
    """Where another program listens there is no proxy, and the daemon is told so."""
    script = "import socket; s = socket.create_server(('127.0.0.1', 4000)); s.accept(); s.accept()"
    process = await contained.spawn(argv=["python3", "-c", script], envs={}, cwd=None, user="user", stdin=False)
    try:
        async with asyncio.timeout(20):
            while not await _listens(contained, 4000):
                pass
            with pytest.raises(AgentError, match="in use"):
                await contained.accept(4000)
    finally:
        process.close()


async def _listens(contained: Sandbox, port: int) -> bool:
    try:
        (await contained.connect(port)).close()
    except AgentError:
        return False
    return True


@pytest.mark.parametrize(
    "handed",
    ["socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", "socket.socketpair()[0]", "open('/')", "open('/dev/zero')"],
)
async def test_what_is_no_connection_ends_the_sandbox(
    handed: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that hands out another thing than a TCP socket is dropped."""
    _lying(monkeypatch, handed)
    sandbox = await start()
    egress = Egress(sandbox, Gateway(), Policy())
    async with asyncio.timeout(20):
        assert await sandbox.ended
    egress.close()


@pytest.mark.parametrize(
    "handed",
    [
        "socket.socket()",
        "socket.create_server(('127.0.0.1', 0))",
        "(lambda s: (s.connect(s.getsockname()), s)[1])((lambda s: (s.bind(('127.0.0.1', 0)), s)[1])(socket.socket()))",
    ],
)
async def test_odd_sockets_cost_the_sandbox_alone(
    handed: str, start: Start, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sockets that are not connected, that listen, or that are connected with themselves stop nobody else's proxy."""
    honest = await start()
    with monkeypatch.context() as patch:
        _lying(patch, handed)
        odd = await start()
    both = [Egress(one, Gateway(), Policy()) for one in (odd, honest)]
    await asyncio.sleep(0.5)
    ran = await run(
        honest, f"exec 3<>/dev/tcp/127.0.0.1/{PORT}; printf 'CONNECT 10.0.0.1:1 HTTP/1.1\\r\\n\\r\\n' >&3; cat <&3"
    )
    assert "403" in ran.out
    for egress in both:
        egress.close()


# A connection that is made to wait, once the daemon has it: one byte comes, and for five seconds nothing more.
BLOCKING = """
import json, marshal, os, socket, sys, time
channel = socket.socket(fileno=int(sys.argv[1]))
channel.recv(65536)
channel.send(b"." + json.dumps({"ready": True}).encode())
request = marshal.loads(channel.recv(65536)[1:])
listening = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listening.getsockname())
handed = listening.accept()[0]
socket.send_fds(channel, [b"." + json.dumps({"id": request["id"], "result": None}).encode()], [handed.fileno()])
time.sleep(0.3)
handed.setblocking(True)
client.send(b"C")
time.sleep(5)
client.close()
time.sleep(60)
"""


async def _longest_wait(sandbox: Sandbox) -> float:
    """Gives the seconds for which the loop was held up while a sandbox had its way out."""
    loop = asyncio.get_running_loop()
    egress = Egress(sandbox, Gateway(), Policy())
    began = last = loop.time()
    longest = 0.0
    while loop.time() - began < 2:
        await asyncio.sleep(0.01)
        longest, last = max(longest, loop.time() - last), loop.time()
    egress.close()
    return longest


async def test_a_socket_that_waits_does_not_make_the_server_wait(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox that switches its end's O_NONBLOCK off gains nothing; were it believed, it would stop the server."""
    packed = importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(compile(BLOCKING, "<lie>", "exec"))
    monkeypatch.setattr(launcher_module, "agent_bytecode", lambda: packed)
    assert await _longest_wait(await start()) < 3
    monkeypatch.setattr(Connection, "recv", socket.socket.recv)
    assert await _longest_wait(await start()) > 3


def test_the_port_is_not_the_hosts() -> None:
    """What listens for a sandbox listens on its own loopback, not on the host's."""
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", PORT)) != 0
