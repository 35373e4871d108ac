"""What the tests of the way out share: servers with a gateway of the test's own, and what listens on the host.

The internet of these tests is 127.0.1.0/24, which their gateways admit; the host's loopback, 127.0.0.1, they do not.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
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
        }
        self.asked: list[str] = []

    def look_up(self, name: str) -> list[Address]:
        """Gives a name's addresses."""
        self.asked.append(name)
        if name not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [ipaddress.ip_address(text) for text in self.known[name]]


class Listener:
    """A TCP server on the host, which greets whoever comes, tells what it hears, and says goodbye.

    Attributes:
        port: Its port.
        heard: What each connection said, in the order of their ends.
        visits: How many connections there were.
    """

    def __init__(self, address: str = PUBLIC, port: int = 0, family: int = socket.AF_INET) -> None:
        self._listening = socket.create_server((address, port), family=family)
        self.port: int = self._listening.getsockname()[1]
        self.heard: list[bytes] = []
        self.visits = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                self.visits += 1
                connection.settimeout(20)
                said = b""
                try:
                    connection.sendall(b"hello\n")
                    while part := connection.recv(65536):
                        said += part
                    connection.sendall(b"goodbye\n")
                except OSError:
                    said += b"<broken>"
                self.heard.append(said)

    def close(self) -> None:
        """Ends it."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(30)


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
