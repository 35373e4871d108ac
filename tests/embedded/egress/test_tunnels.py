"""Tunnels: whole, fast or slow as the slower side, bounded, and cut where they must be, whatever a client does."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import psutil
import pytest
from e2b import Sandbox

from e2b_magic.embedded.egress import proxy
from e2b_magic.embedded.egress.destination import Address
from e2b_magic.embedded.egress.gateway import Bounds, Gateway
from tests.embedded.in_process import InProcess

from .conftest import OTHER, PUBLIC, TUNNEL, Listener, Names, Serving, Speak, run, until

pytestmark = pytest.mark.sandbox


@contextmanager
def serve(handle: Callable[[socket.socket], None], address: str = PUBLIC) -> Iterator[int]:
    """Gives the port of a server on the host that handles one connection."""
    with socket.create_server((address, 0)) as listening:
        listening.settimeout(30)

        def work() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(30)
                handle(connection)

        thread = threading.Thread(target=work)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(30)
        assert not thread.is_alive()


def _wait(done: threading.Event) -> None:
    assert done.wait(60)


def test_much_passes_both_ways_at_once(sandbox: Sandbox) -> None:
    """Two hundred megabytes go out and come back while they still go out, unchanged."""

    def echo(connection: socket.socket) -> None:
        while part := connection.recv(1 << 18):
            connection.sendall(part)

    script = """
import hashlib, threading
connection = tunnel(sys.argv[1] if len(sys.argv) > 1 else HOST, PORT)
connection.settimeout(50)
block = bytes(range(256)) * 4096
def send():
    for _ in range(200):
        connection.sendall(block)
    connection.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
sent, received = hashlib.sha1(), hashlib.sha1()
for _ in range(200):
    sent.update(block)
while part := connection.recv(1 << 18):
    received.update(part)
print(sent.digest() == received.digest())
"""
    with serve(echo) as port:
        assert run(sandbox, f"HOST, PORT = {PUBLIC!r}, {port}\n{script}") == "True\n"


def test_either_side_may_fall_silent_first(sandbox: Sandbox) -> None:
    """A side that has said all still hears the other to its end."""
    heard = []

    def speak_first(connection: socket.socket) -> None:
        connection.sendall(b"all I have to say")
        connection.shutdown(socket.SHUT_WR)
        said = b""
        while part := connection.recv(65536):
            said += part
        heard.append(said)

    script = """
said = b""
while part := connection.recv(65536):
    said += part
time.sleep(0.2)
connection.sendall(said.upper())
connection.close()
"""
    with serve(speak_first) as port:
        run(sandbox, f"connection = tunnel({PUBLIC!r}, {port})\n{script}")
    assert heard == [b"ALL I HAVE TO SAY"]


def test_what_a_client_says_at_once_is_not_lost(speak: Speak, public: Listener) -> None:
    """What comes with the request, or right after it, goes through the tunnel."""
    answer = speak(f"CONNECT {PUBLIC}:{public.port} HTTP/1.1\r\nHost: x\r\n\r\nearly bird".encode())
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\nhello\ngoodbye\n"
    assert public.heard == [b"early bird"]


def test_an_answer_that_comes_early_is_whole(sandbox: Sandbox) -> None:
    """A server may answer and leave while its client still sends: the client gets all of the answer."""

    def refuse(connection: socket.socket) -> None:
        connection.recv(1000)
        time.sleep(0.2)  # until nothing more fits on the way
        connection.sendall(bytes(60_000))

    script = """
import threading
def send():
    try:
        while True:
            connection.sendall(bytes(1 << 20))
    except OSError:
        pass
threading.Thread(target=send, daemon=True).start()
time.sleep(1)
left = 60_000
try:
    while left and (part := connection.recv(1 << 16)):
        left -= len(part)
except ConnectionResetError:
    pass
print(left)
"""
    with serve(refuse) as port:
        assert run(sandbox, f"connection = tunnel({PUBLIC!r}, {port})\n{script}") == "0\n"


def test_a_slow_side_slows_the_other(sandbox: Sandbox) -> None:
    """Nobody holds what an idle server does not read: the sender waits, and the daemon's memory stays as it was."""
    done = threading.Event()
    script = """
connection.settimeout(2)
sent = 0
try:
    while sent < 1 << 30:
        sent += connection.send(bytes(1 << 20))
except TimeoutError:
    pass
print(sent)
"""
    with serve(lambda _: _wait(done)) as port:
        before = psutil.Process().memory_info().rss
        try:
            sent = int(run(sandbox, f"connection = tunnel({PUBLIC!r}, {port})\n{script}"))
        finally:
            done.set()
    # The kernel's buffers on the way: two sockets with some megabytes each.
    assert 0 < sent < 100 << 20
    assert psutil.Process().memory_info().rss - before < 50 << 20


CUT = """
connection.settimeout(20)
connection.recv(100)
open("/tmp/{name}.open", "w").close()
try:
    print(connection.recv(100))
except ConnectionResetError:
    print("cut")
"""


def test_a_change_of_rules_cuts_what_it_forbids(
    sandbox: Sandbox, public: Listener, other: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live tunnel that new rules do not allow is reset, one that they allow stays; without the check both would."""
    with ExitStack() as handles:
        commands = {}
        for name, host, port in (("public", "ok.test", public.port), ("other", "other.test", other.port)):
            script = TUNNEL + f"connection = tunnel({host!r}, {port})" + CUT.format(name=name)
            sandbox.files.write(f"/tmp/{name}.py", script)
            commands[name] = sandbox.commands.run(f"python3 /tmp/{name}.py", background=True, timeout=60)
            handles.callback(commands[name].kill)
        sandbox.commands.run("until [ -e /tmp/public.open -a -e /tmp/other.open ]; do sleep 0.02; done", timeout=20)
        with monkeypatch.context() as patch:
            patch.setattr(proxy._Passage, "allowed_by", lambda *_: True)
            sandbox.update_network({"deny_out": [OTHER]})
        until(lambda: len(public.heard) + len(other.heard) == 0)
        assert Speak(sandbox).connect("other.test", other.port).startswith(b"HTTP/1.1 403 ")
        sandbox.update_network({"deny_out": [OTHER, "10.0.0.0/8"]})
        assert commands["other"].wait().stdout == "cut\n"
        assert public.heard == []
        sandbox.update_network({"allow_internet_access": False})
        assert commands["public"].wait().stdout == "cut\n"


def test_rules_can_be_lifted(served: InProcess, public: Listener) -> None:
    """A change opens as well as it shuts, and what it leaves out is cleared."""
    sandbox = Sandbox.create(**served.options, allow_internet_access=False, network={"deny_out": [PUBLIC]})
    speak = Speak(sandbox)
    assert b" 403 " in speak.connect(PUBLIC, public.port)
    sandbox.update_network({"allow_out": ["*.ok.test"], "deny_out": ["0.0.0.0/0"]})
    assert b" 403 " in speak.connect(PUBLIC, public.port)
    assert b"hello" in speak.connect("sub.ok.test", public.port)
    sandbox.update_network({})
    assert b"hello" in speak.connect(PUBLIC, public.port)


def test_the_end_of_a_sandbox_ends_its_tunnels(sandbox: Sandbox, public: Listener) -> None:
    """When a sandbox is killed, whoever it spoke with is told at once."""
    script = f"connection = tunnel({PUBLIC!r}, {public.port})\ntime.sleep(60)"
    sandbox.files.write("/tmp/script.py", TUNNEL + script)
    sandbox.commands.run("python3 /tmp/script.py", background=True, timeout=60)
    until(lambda: public.visits == 1)
    sandbox.kill()
    until(lambda: public.heard != [])


def test_connections_are_bounded(serving: Serving, gateway: Gateway, public: Listener) -> None:
    """Of more connections than there may be, the rest wait their turn; none is lost."""
    sandbox = Sandbox.create(**serving(replace(gateway, bounds=Bounds(connections=2))).options)
    script = f"""
first, second = tunnel({PUBLIC!r}, {public.port}), tunnel({PUBLIC!r}, {public.port})
third = socket.create_connection(("127.0.0.1", {proxy.PORT}), 20)
third.sendall(b"CONNECT {PUBLIC}:{public.port} HTTP/1.1\\r\\n\\r\\n")
third.settimeout(1)
try:
    print(third.recv(1))
except TimeoutError:
    print("waits")
first.close()
third.settimeout(20)
print(third.recv(12))
"""
    assert run(sandbox, script) == "waits\nb'HTTP/1.1 200'\n"


@pytest.mark.slow
def test_many_connections_come_one_after_the_other(sandbox: Sandbox, public: Listener) -> None:
    """A thousand short tunnels leave nothing behind that would stop the next."""
    script = f"""
for _ in range(1000):
    connection = tunnel({PUBLIC!r}, {public.port})
    connection.recv(1)
    connection.close()
print("done")
"""
    before = psutil.Process().num_fds()
    assert run(sandbox, script, timeout=110) == "done\n"
    until(lambda: psutil.Process().num_fds() <= before + 20)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: ok.test\r\n\r\n", 400),
        (b"GET https://ok.test/ HTTP/1.1\r\n\r\n", 400),
        (b"GET ftp://ok.test/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http:ok.test HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT ok.test HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT ok.test:0 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT ok.test:80 HTTP/2\r\n\r\n", 400),
        (b"CONNECT  ok.test:80 HTTP/1.1\r\n\r\n", 400),
        (b"connect ok.test:80 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT ok.test:80\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"CONNECT http://ok.test:80 HTTP/1.1\r\n\r\n", 403),
        (b"GET http:///x HTTP/1.1\r\n\r\n", 403),
        (b"GET http://ok.test\\@evil.test/ HTTP/1.1\r\n\r\n", 403),
        (b"GET http://ok.test:80 HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"GET http://ok.test/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"CONNECT ok.test:80 HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"CONNECT " + b"x" * 15_000 + b":80 HTTP/1.1\r\n\r\n", 403),
        (b"CONNECT nowhere.test:80 HTTP/1.1\r\n\r\n", 502),
        (b"CONNECT 127.0.1.99:9 HTTP/1.1\r\n\r\n", 502),
    ],
)
def test_a_request_that_cannot_be_served_is_told_why(said: bytes, status: int, speak: Speak) -> None:
    """Whatever is said, the answer is a whole one with one line, and the connection ends."""
    answer = speak(said)
    head, _, line = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line) < 300


def test_a_connection_that_is_cut_before_it_is_served_is_closed(sandbox: Sandbox, served: InProcess) -> None:
    """Connections that come in the very moment of a sandbox's end are closed with it."""
    before = psutil.Process().num_fds()
    script = f"""
while True:
    try:
        socket.create_connection(("127.0.0.1", {proxy.PORT})).close()
    except OSError:
        pass
"""
    sandbox.files.write("/tmp/script.py", TUNNEL + script)
    sandbox.commands.run("for i in 1 2 3; do python3 /tmp/script.py & done; wait", background=True, timeout=60)
    time.sleep(1)
    sandbox.kill()
    until(lambda: psutil.Process().num_fds() <= before + 2)


def test_slow_heads_are_not_waited_for(serving: Serving, gateway: Gateway) -> None:
    """A head that does not end is answered, and silence is hung up on."""
    sandbox = Sandbox.create(**serving(replace(gateway, bounds=Bounds(head_seconds=0.5))).options)
    script = f"""
connection = socket.create_connection(("127.0.0.1", {proxy.PORT}), 20)
connection.sendall(b"CONNECT ok.test:80 HTTP/1.1")
print(connection.recv(12))
silent = socket.create_connection(("127.0.0.1", {proxy.PORT}), 20)
try:
    print(silent.recv(12))
except ConnectionResetError:
    print(b"")
"""
    assert run(sandbox, script) == "b'HTTP/1.1 408'\nb''\n"


def test_idle_tunnels_are_cut(serving: Serving, gateway: Gateway, public: Listener) -> None:
    """A tunnel without a byte for too long is reset, so that nobody takes it for ended."""
    sandbox = Sandbox.create(**serving(replace(gateway, bounds=Bounds(idle_seconds=3))).options)
    script = f"connection = tunnel({PUBLIC!r}, {public.port})" + CUT.format(name="idle")
    assert run(sandbox, script) == "cut\n"
    until(lambda: public.heard == [b"<broken>"])


def test_a_reset_is_passed_on(sandbox: Sandbox) -> None:
    """A connection that broke outside breaks inside: nobody takes half for whole."""

    def break_off(connection: socket.socket) -> None:
        connection.sendall(b"half")
        time.sleep(0.2)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with serve(break_off) as port:
        assert run(sandbox, f"connection = tunnel({PUBLIC!r}, {port})" + CUT.format(name="reset")) == "cut\n"


def test_a_destination_that_does_not_answer_is_a_timeout(serving: Serving, gateway: Gateway) -> None:
    """Where nobody takes the connection, a 504 says so."""
    with socket.socket() as listening, ExitStack() as filling:
        listening.bind((PUBLIC, 0))
        listening.listen(0)
        place = listening.getsockname()
        for _ in range(3):  # until its queue is full, and the kernel answers no more
            one = filling.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(place)
        speak = Speak(Sandbox.create(**serving(replace(gateway, bounds=Bounds(dial_seconds=0.5))).options))
        answer = speak.connect(PUBLIC, place[1])
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"did not answer within 0.5 seconds" in answer


def test_the_next_address_is_tried(names: Names, speak: Speak, public: Listener) -> None:
    """A name with an address that does not answer is reached at its next one."""
    names.known["several.test"] = ["127.0.1.99", PUBLIC]
    assert b"hello" in speak.connect("several.test", public.port)


def test_slow_names_stop_nobody_else(serving: Serving, gateway: Gateway, names: Names, public: Listener) -> None:
    """Names that take for ever use up one sandbox's lookups, are told as a timeout, and touch no other sandbox."""
    release = threading.Event()

    def look_up(name: str) -> list[Address]:
        if name.startswith("slow"):
            release.wait(60)
            return [ipaddress.ip_address(PUBLIC)]
        return names.look_up(name)

    bounds = Bounds(lookups=2, lookup_seconds=1)
    server = serving(replace(gateway, look_up=look_up, bounds=bounds))
    slow, quick = Speak(Sandbox.create(**server.options)), Speak(Sandbox.create(**server.options))
    try:
        for host in ("slow1.test", "slow2.test", "ok.test"):  # the third finds no turn
            assert slow.connect(host, public.port).startswith(b"HTTP/1.1 504 ")
        assert b"hello" in quick.connect("ok.test", public.port)
        assert b"hello" in slow.connect(PUBLIC, public.port)
    finally:
        release.set()
    until(lambda: b"hello" in slow.connect("ok.test", public.port))


def test_clients_that_leave_at_any_moment_leave_nothing(sandbox: Sandbox, public: Listener) -> None:
    """A client that resets its connection while anything is under way costs nothing that stays."""
    script = f"""
import struct
connect = b"CONNECT {PUBLIC}:{public.port} HTTP/1.1\\r\\n\\r\\n"
get = b"GET http://ok.test:{public.port}/ HTTP/1.1\\r\\n\\r\\n"
for said in (b"", b"CONN", connect, get):
    for _ in range(50):
        connection = socket.create_connection(("127.0.0.1", {proxy.PORT}), 20)
        connection.sendall(said)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
print("done")
"""
    before = psutil.Process().num_fds()
    assert run(sandbox, script) == "done\n"
    assert b"hello" in Speak(sandbox).connect(PUBLIC, public.port)
    until(lambda: psutil.Process().num_fds() <= before + 20)
