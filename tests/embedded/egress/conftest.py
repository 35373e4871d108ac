"""What the tests of the way out share: servers with a gateway of the test's own, and what listens on the host.

The internet of these tests is 127.0.1.0/24, which their gateways admit; the host's loopback, 127.0.0.1, they do not.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from e2b import Sandbox

from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.egress.addresses import Guard
from e2b_magic.embedded.egress.destination import Address
from e2b_magic.embedded.egress.gateway import Gateway
from e2b_magic.embedded.egress.proxy import PORT
from tests.embedded.in_process import InProcess

INTERNET = ipaddress.ip_network("127.0.1.0/24")
ALL = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
PUBLIC, OTHER, FORBIDDEN = "127.0.1.10", "127.0.1.11", "127.0.0.1"

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

# Sends bytes to the proxy and prints all that comes back, as a Python literal.
_SPEAK = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", {port}), 20)
connection.sendall(bytes.fromhex(sys.argv[1]))
connection.shutdown(socket.SHUT_WR)
received = b""
try:
    while part := connection.recv(65536):
        received += part
except ConnectionResetError:
    received += b"<reset>"
print(received)
"""


class Names:
    """A resolver of the test's own.

    Attributes:
        known: Addresses by name.
        asked: The names that were looked up, in order.
    """

    def __init__(self) -> None:
        self.known: dict[str, Sequence[str]] = {
            "ok.test": [PUBLIC],
            "sub.ok.test": [PUBLIC],
            "evilok.test": [OTHER],
            "other.test": [OTHER],
            "inside.test": [FORBIDDEN],
            "mixed.test": [FORBIDDEN, PUBLIC],
            "slow.test": [PUBLIC],
        }
        self.asked: list[str] = []

    def look_up(self, name: str) -> list[Address]:
        """Gives a name's addresses."""
        self.asked.append(name)
        if name not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [ipaddress.ip_address(text) for text in self.known[name]]


@dataclass
class SlowNames:
    """A resolver that gives the addresses of slow.test when it is told to.

    Attributes:
        names: What gives all others, and slow.test's in the end.
        asked: That slow.test is being looked up.
        release: Tells it to.
    """

    names: Names
    asked: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def look_up(self, name: str) -> list[Address]:
        """Gives a name's addresses."""
        if name == "slow.test":
            self.asked.set()
            assert self.release.wait(20)
        return self.names.look_up(name)


class HostServer:
    """A TCP server on the host, which serves each connection in a thread of its own, and closes it then.

    A kind of server says in `serve` what it does; what it notes must be there before this class's constructor runs.

    Args:
        address: Where it listens.
        port: Its port; one that the kernel chooses if left out.
        family: The address's.

    Attributes:
        port: Its port.
    """

    def __init__(self, address: str = PUBLIC, port: int = 0, family: int = socket.AF_INET) -> None:
        self._listening = socket.create_server((address, port), family=family)
        self.port: int = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.settimeout(30)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            self.serve(connection)

    def serve(self, connection: socket.socket) -> None:
        """Serves a connection to its end."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends it, when what it serves has ended."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(30)


class Listener(HostServer):
    """A server that greets whoever comes, tells what it hears, and says goodbye.

    Attributes:
        heard: What each connection said, in the order of their ends.
        visits: How many connections there were.
    """

    def __init__(self, address: str = PUBLIC, port: int = 0, family: int = socket.AF_INET) -> None:
        self.heard: list[bytes] = []
        self.visits = 0
        super().__init__(address, port, family)

    def serve(self, connection: socket.socket) -> None:
        """Greets, listens, says goodbye."""
        self.visits += 1
        said = b""
        try:
            connection.sendall(b"hello\n")
            while part := connection.recv(65536):
                said += part
            connection.sendall(b"goodbye\n")
        except OSError:
            said += b"<broken>"
        self.heard.append(said)


class Socks(HostServer):
    """A SOCKS5 proxy on the host that notes what it is asked, answers, and then is the destination itself.

    Args:
        address: Where it listens.
        encryption: How it speaks TLS; None for without.

    Attributes:
        asked: What each connection asked for: the type of the address, the address, the port.
        told: The usernames and passwords that it was told.
        names: The names by which clients called it, where it speaks TLS.
        reply: What it answers to each.
        visits: How many connections there were.
        echoes: Whether it sends back what it is told, three times, when it has been told all.
        polite: Whether it says goodbye, as TLS has it.
    """

    def __init__(self, address: str = PUBLIC, encryption: ssl.SSLContext | None = None) -> None:
        self.asked: list[tuple[int, bytes, int]] = []
        self.told: list[tuple[bytes, bytes]] = []
        self.names: list[str | None] = []
        self.reply = 0
        self.visits = 0
        self.echoes = False
        self.polite = True
        self._encryption = encryption
        if encryption is not None:
            encryption.sni_callback = lambda _connection, name, _context: self.names.append(name)
        super().__init__(address)

    def serve(self, connection: socket.socket) -> None:
        """Lets a client introduce itself, and serves what it asks for."""
        self.visits += 1
        with suppress(OSError):
            if self._encryption is None:
                self._answer(connection)
                return
            with self._encryption.wrap_socket(connection, server_side=True) as encrypted:
                self._answer(encrypted)

    def _answer(self, connection: socket.socket) -> None:
        read = connection.makefile("rb").read
        version, count = read(2)
        if version != 5:
            return
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
        connection.sendall(bytes([5, self.reply, 0, 3, 1]) + b"x" + bytes(2))
        if self.reply == 0:
            connection.sendall(read() * 3 if self.echoes else b"by the proxy\n")
        if isinstance(connection, ssl.SSLSocket) and self.polite:
            connection.unwrap()


class Origin(HostServer):
    """A server on the host that answers each connection with bytes of the test's, whatever it is asked.

    Attributes:
        first: What is sent at once when a head has come.
        answer: What is sent when a head has come, and of what is no GET so many bytes as `body` says.
        body: Bytes.
        last: Whether it closes right after the answer.
    """

    def __init__(self) -> None:
        self._heard: list[bytes] = []
        self.first = b""
        self.answer = OK
        self.body = 0
        self.last = False
        super().__init__()

    @property
    def heard(self) -> list[bytes]:
        """What each connection said; waits until all have closed, which a client may see a moment earlier."""
        for thread in self._threads[1:]:
            thread.join(30)
        return self._heard

    def serve(self, connection: socket.socket) -> None:
        """Listens, and answers once."""
        said = b""
        begun = answered = False
        try:
            while part := connection.recv(1 << 20):
                said += part
                if not begun and b"\r\n\r\n" in said:
                    connection.sendall(self.first)
                    begun = True
                if begun and not answered and (said.startswith(b"GET") or len(said) >= self.body):
                    connection.sendall(self.answer)
                    answered = True
                    if self.last:
                        break
        except OSError:
            said += b"<broken>"
        self._heard.append(said)


# For scripts that run inside: `tunnel` gives a socket whose other end is a host and port outside.
TUNNEL = f"""
import socket, sys, time
def tunnel(host, port):
    connection = socket.create_connection(("127.0.0.1", {PORT}), 20)
    connection.sendall(f"CONNECT {{host}}:{{port}} HTTP/1.1\\r\\n\\r\\n".encode())
    head = b""
    while not head.endswith(b"\\r\\n\\r\\n"):
        part = connection.recv(1)
        if not part:
            raise SystemExit(head)
        head += part
    if not head.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(head)
    return connection
"""


def run(sandbox: Sandbox, script: str, timeout: float = 60) -> str:
    """Gives what a script prints that runs inside."""
    sandbox.files.write("/tmp/script.py", TUNNEL + script)
    return sandbox.commands.run("python3 /tmp/script.py", timeout=timeout).stdout


def until(happened: Callable[[], bool]) -> None:
    """Waits until something has happened."""
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@dataclass(frozen=True)
class Speak:
    """Speaks to the proxy from inside a sandbox, in bytes."""

    sandbox: Sandbox

    def __call__(self, said: bytes) -> bytes:
        """Gives all that the proxy answers."""
        self.sandbox.files.write("/tmp/speak.py", _SPEAK.format(port=PORT))
        told = self.sandbox.commands.run(f"python3 /tmp/speak.py {said.hex()}")
        return bytes(eval(told.stdout, {"__builtins__": {}}))

    def connect(self, target: str, port: int) -> bytes:
        """Gives the answer to a CONNECT, and what came through the tunnel, nothing having been said in it."""
        return self(f"CONNECT {target}:{port} HTTP/1.1\r\n\r\n".encode("latin-1"))


@pytest.fixture
def names() -> Names:
    """Gives the resolver that gateways of a test use."""
    return Names()


@pytest.fixture
def gateway(names: Names) -> Gateway:
    """Gives a gateway that takes 127.0.1.0/24 for the internet."""
    return Gateway(guard=Guard((INTERNET,)), look_up=names.look_up)


Serving = Callable[[Gateway], InProcess]


@pytest.fixture
def serving(launcher: Launcher, tmp_path: Path) -> Iterator[Serving]:
    """Gives a function that starts servers, which end with the test."""
    started: list[InProcess] = []

    def start(gateway: Gateway) -> InProcess:
        directory = tmp_path / f"server-{len(started)}"
        directory.mkdir()
        started.append(InProcess(launcher, directory, gateway))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def slow(names: Names, gateway: Gateway, serving: Serving) -> tuple[InProcess, SlowNames]:
    """Gives a server whose gateway is long in looking slow.test up, and what releases it."""
    slow_names = SlowNames(names)
    return serving(replace(gateway, look_up=slow_names.look_up)), slow_names


@pytest.fixture
def served(serving: Serving, gateway: Gateway) -> InProcess:
    """Gives a server with the test's gateway."""
    return serving(gateway)


@pytest.fixture
def sandbox(served: InProcess) -> Sandbox:
    """Gives a sandbox of the server's."""
    return Sandbox.create(**served.options)


@pytest.fixture
def speak(sandbox: Sandbox) -> Speak:
    """Speaks to the proxy from inside the sandbox."""
    return Speak(sandbox)


@pytest.fixture
def public() -> Iterator[Listener]:
    """Gives a listener in what the gateways take for the internet."""
    with closing(Listener(PUBLIC)) as listener:
        yield listener


@pytest.fixture
def forbidden() -> Iterator[Listener]:
    """Gives a listener on the host's loopback, which no sandbox may reach."""
    with closing(Listener(FORBIDDEN)) as listener:
        yield listener


@pytest.fixture
def other() -> Iterator[Listener]:
    """Gives a listener in the internet that rules of a test deny."""
    with closing(Listener(OTHER)) as listener:
        yield listener


@pytest.fixture
def socks() -> Iterator[Socks]:
    """Gives a proxy in what the gateways take for the internet."""
    with closing(Socks()) as proxy:
        yield proxy


@pytest.fixture
def origin() -> Iterator[Origin]:
    """Gives an origin in what the gateways take for the internet."""
    with closing(Origin()) as origin:
        yield origin
