"""WebSockets and other protocols on the ports of a sandbox: passed on as they are, once both sides agree."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import trustme
import websocket
from e2b import Sandbox

from e2b_magic.embedded.endpoint import Endpoint
from e2b_magic.embedded.sandbox.outward import Connection
from e2b_magic.embedded.server import ports

pytestmark = pytest.mark.sandbox

# Two servers in one: a WebSocket that sends each frame back as it came, and an unknown protocol that sends back lines.
_SERVER = """
import base64, hashlib, socketserver
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        line, headers = self.rfile.readline().split()[1].decode(), {}
        while text := self.rfile.readline().decode().strip():
            headers[text.partition(":")[0].lower()] = text.partition(":")[2].strip()
        if headers.get("upgrade", "").lower() not in ("websocket", "chat"):
            body = ",".join(sorted(headers)).encode()
            self.wfile.write(b"HTTP/1.1 426 Upgrade Required\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
            return
        answer = "HTTP/1.1 101 Fine\\r\\nConnection: Upgrade\\r\\nUpgrade: " + headers["upgrade"] + "\\r\\n"
        if "sec-websocket-key" in headers:
            key = headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
            answer += "Sec-WebSocket-Accept: " + accept + "\\r\\n"
        if "sec-websocket-protocol" in headers:
            answer += "Sec-WebSocket-Protocol: " + headers["sec-websocket-protocol"].split(",")[-1].strip() + "\\r\\n"
        self.wfile.write(answer.encode() + b"\\r\\n")
        if "sec-websocket-key" in headers:
            self.frames()
        else:
            self.wfile.write(b"hello " + line.encode() + b"\\n")
            for line in self.rfile:
                self.wfile.write(line.upper())
            self.wfile.write(b"bye\\n")
    def frames(self):
        while head := self.rfile.read(2):
            length = head[1] & 127
            extended = self.rfile.read({126: 2, 127: 8}.get(length, 0))
            size = int.from_bytes(extended, "big") if extended else length
            mask = self.rfile.read(4)
            data = self.rfile.read(size)
            key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
            plain = (int.from_bytes(data, "big") ^ key).to_bytes(size, "big")
            self.wfile.write(bytes([head[0], length]) + extended + plain)
            if head[0] & 15 == 8:
                return
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", 9000), Handler).serve_forever()
"""


def _serve(sandbox: Sandbox) -> Sandbox:
    sandbox.files.write("upgrades.py", _SERVER)
    sandbox.commands.run("python3 upgrades.py", background=True, timeout=0)
    sandbox.commands.run("until (: < /dev/tcp/127.0.0.1/9000) 2>&-; do sleep 0.05; done")
    return sandbox


@pytest.fixture(scope="module")
def served(options: dict[str, Any]) -> Iterator[Sandbox]:
    """Gives a sandbox with the server on port 9000."""
    with Sandbox.create(**options) as sandbox:
        yield _serve(sandbox)


def _headers(sandbox: Sandbox) -> dict[str, str]:
    return {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "9000"}


@contextlib.contextmanager
def _web_socket(server: Endpoint, path: str = "/", **options: Any) -> Iterator[websocket.WebSocket]:
    connection = websocket.create_connection(f"ws://127.0.0.1:{server.port}{path}", timeout=20, **options)
    try:
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def _plain(server: Endpoint, sandbox: Sandbox, *, upgrade: str = "chat", early: bytes = b"") -> Iterator[socket.socket]:
    """Asks for another protocol, and sends some of it before the answer is there."""
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=20) as connection:
        lines = ["GET /room HTTP/1.1", "Host: localhost", "Connection: keep-alive, Upgrade", f"Upgrade: {upgrade}"]
        lines += [f"{name}: {value}" for name, value in _headers(sandbox).items()]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + early)
        yield connection


def test_a_web_socket_by_the_routing_headers(server: Endpoint, served: Sandbox) -> None:
    """Text, binary and large messages come back as they went, in the subprotocol that the server chose."""
    with _web_socket(server, header=_headers(served), subprotocols=["one", "two"]) as connection:
        assert connection.subprotocol == "two"
        connection.send("text")
        assert connection.recv() == "text"
        for size in (0, 125, 126, 70_000, 3_000_000):
            connection.send_binary(bytes(size))
            assert connection.recv() == bytes(size)
        connection.ping("are you there")
        opcode, data = connection.recv_data(control_frame=True)
        assert (opcode, data) == (websocket.ABNF.OPCODE_PING, b"are you there")


def test_a_web_socket_by_the_host_name(server: Endpoint, served: Sandbox) -> None:
    """A page's own origin is where its WebSocket goes."""
    with _web_socket(server, host=f"9000-{served.sandbox_id}.localhost:{server.port}") as connection:
        connection.send("text")
        assert connection.recv() == "text"


def test_any_protocol_passes(server: Endpoint, served: Sandbox) -> None:
    """What either side says before, with and after the agreement arrives, and who has said all can still listen."""
    with _plain(server, served, early=b"early\n") as connection:
        first = connection.recv(12)
        connection.sendall(b"late\n")
        connection.shutdown(socket.SHUT_WR)
        head, _, rest = b"".join([first, *iter(lambda: connection.recv(65536), b"")]).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Fine\r\n")
    assert rest == b"hello /room\nEARLY\nLATE\nbye\n"


def test_a_server_may_decline(server: Endpoint, served: Sandbox) -> None:
    """Where the server does not agree its answer is passed on, and the connection serves the next request."""
    with _plain(server, served, upgrade="other") as connection:
        for _ in range(2):
            answer = connection.recv(65536)
            while b"upgrade" not in answer.partition(b"\r\n\r\n")[2]:
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 426 ")
            lines = ["GET / HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: other"]
            lines += [f"{name}: {value}" for name, value in _headers(served).items()]
            connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")


def test_control_routes_are_not_upgraded(server: Endpoint) -> None:
    """Elsewhere a request to upgrade is a request like any other."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        lines = ["GET /sandboxes HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket"]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_a_foreign_host_gets_no_web_socket(server: Endpoint, served: Sandbox) -> None:
    """A name that was made to resolve to this machine does not lead into a sandbox."""
    with (
        pytest.raises(websocket.WebSocketBadStatusException, match="421"),
        _web_socket(server, header=_headers(served), host="evil.example"),
    ):
        pass


def test_a_private_port_needs_its_token(server: Endpoint, options: dict[str, Any]) -> None:
    """Where traffic is not public, a WebSocket needs the traffic token."""
    with Sandbox.create(**options, network={"allow_public_traffic": False}) as sandbox:
        _serve(sandbox)
        with (
            pytest.raises(websocket.WebSocketBadStatusException, match="403"),
            _web_socket(server, header=_headers(sandbox)),
        ):
            pass
        token = {"e2b-traffic-access-token": str(sandbox.traffic_access_token)}
        with _web_socket(server, header={**_headers(sandbox), **token}) as connection:
            connection.send("text")
            assert connection.recv() == "text"


def test_a_web_socket_ends_with_its_sandbox(server: Endpoint, options: dict[str, Any]) -> None:
    """Whoever is connected to a sandbox that is killed sees the connection reset."""
    sandbox = Sandbox.create(**options)
    _serve(sandbox)
    with _plain(server, sandbox) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 101 ")
        sandbox.kill()
        with pytest.raises(ConnectionResetError):
            list(iter(lambda: connection.recv(65536), b""))


def test_connections_are_given_back(server: Endpoint, served: Sandbox) -> None:
    """The server holds nothing of an upgraded connection once its client has left without a word."""
    process = psutil.Process(server.pid)
    before = process.num_fds()
    for _ in range(10):
        with _plain(server, served) as connection:
            assert connection.recv(65536)
    deadline = 100
    while process.num_fds() > before and deadline:
        served.commands.run("sleep 0.05")
        deadline -= 1
    assert process.num_fds() <= before


async def test_a_server_that_speaks_tls_is_told_too() -> None:
    """When a client leaves an upgraded connection to an HTTPS port, the server there is told by its end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    told = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        told.set()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context) as inside:
        connection = Connection()
        connection.connect(inside.sockets[0].getsockname())
        connection.setblocking(False)
        streams = await ports._opened(connection, https=True)
        here, there = socket.socketpair()
        with there:
            client = await asyncio.open_connection(sock=here)
            joined = asyncio.create_task(ports._join(client, streams))
            there.shutdown(socket.SHUT_WR)
            await asyncio.wait_for(told.wait(), 5)
            await asyncio.wait_for(joined, 5)
