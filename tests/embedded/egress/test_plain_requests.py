"""Plain HTTP through the proxy: one request a connection, framed anew, so that nothing rides along."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from e2b import Sandbox

from e2b_magic.embedded.egress.gateway import Bounds, Gateway

from .conftest import OK, PUBLIC, Origin, Serving, Speak

pytestmark = pytest.mark.sandbox


def test_a_request_is_made_in_its_clients_name(speak: Speak, origin: Origin) -> None:
    """The origin gets the path, the name that the rules were checked on, and nothing that was meant for the proxy."""
    request = (
        f"GET http://OK.test:{origin.port}/a?b=c HTTP/1.1\r\nHost: evil.test\r\nProxy-Connection: keep-alive\r\n"
        "Proxy-Authorization: Basic c2VjcmV0\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nX-Mine: 2\r\n\r\n"
    )
    answer = speak(request.encode())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\nok")
    head = origin.heard[0].decode().removesuffix("\r\n\r\n").split("\r\n")
    assert head[0] == "GET /a?b=c HTTP/1.1"
    fields = [line.lower() for line in head[1:]]
    assert fields == [f"host: ok.test:{origin.port}", "x-mine: 2", "connection: close"]


@pytest.mark.parametrize(
    ("target", "path"), [("", "/"), ("/", "/"), ("?q", "/?q"), ("/a//b/../c%20d", "/a//b/../c%20d")]
)
def test_paths_stay_as_they_are(target: str, path: str, speak: Speak, origin: Origin) -> None:
    """A path is passed on byte for byte, and an empty one is the root."""
    speak(f"GET http://ok.test:{origin.port}{target} HTTP/1.1\r\nHost: ok.test\r\n\r\n".encode())
    assert origin.heard[0].startswith(f"GET {path} HTTP/1.1\r\n".encode())


def test_a_second_request_is_not_sent_along(speak: Speak, origin: Origin) -> None:
    """A client that sends another request on the same connection does not speak with the first one's origin."""
    first = f"GET http://ok.test:{origin.port}/ HTTP/1.1\r\nHost: ok.test\r\n\r\n"
    second = "GET http://inside.test/secret HTTP/1.1\r\nHost: inside.test\r\n\r\n"
    answer = speak((first + second).encode())
    assert answer.count(b"HTTP/1.1 200 ") == 1
    assert b"connection: close" in answer.lower()
    assert b"secret" not in origin.heard[0]


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Content-Length: 5\r\n\r\nhello",
        b"Connection: Content-Length\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
def test_a_body_arrives_as_one_reading_has_it(framing: bytes, speak: Speak, origin: Origin) -> None:
    """The origin is never told of two ways to find the end of a body."""
    head = f"POST http://ok.test:{origin.port}/ HTTP/1.1\r\nHost: ok.test\r\n".encode()
    assert speak(head + framing + b"GET /smuggled HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    head, _, body = origin.heard[0].partition(b"\r\n\r\n")
    assert (b"content-length" in head.lower()) != (b"transfer-encoding" in head.lower())
    assert body in (b"hello", b"5\r\nhello\r\n0\r\n\r\n")


def test_curl_posts_and_gets(sandbox: Sandbox, origin: Origin) -> None:
    """A program with its own manners (keep-alive, 100-continue, a streamed body) gets its answers."""
    url = f"http://ok.test:{origin.port}/"
    origin.first, origin.body = b"HTTP/1.1 100 Continue\r\n\r\n", 3_000_000
    sandbox.commands.run("head -c 3000000 /dev/zero > /tmp/body")
    for options in (
        "",
        "--data-binary @/tmp/body",
        "-H 'Expect: 100-continue' --data-binary @/tmp/body",
        "-T /tmp/body",
    ):
        assert sandbox.commands.run(f"curl -sS {options} {url}").stdout == "ok"
    assert sandbox.commands.run(f"curl -sS -T - {url} < /tmp/body").stdout == "ok"
    assert sandbox.commands.run(f"curl -sS {url} {url}").stdout == "okok"
    # A chunked body is longer by its framing, and all have a head.
    assert sorted(len(said) // 3_000_000 for said in origin.heard) == [0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK, b"ok"),
    ],
)
def test_answers_of_every_framing_arrive(answer: bytes, expected: bytes, sandbox: Sandbox, origin: Origin) -> None:
    """However an answer says where it ends, the client gets the whole of it."""
    origin.answer, origin.last = answer, True
    assert sandbox.commands.run(f"curl -sS http://ok.test:{origin.port}/").stdout == expected.decode()


def test_an_answer_that_breaks_off_is_not_whole(sandbox: Sandbox, origin: Origin) -> None:
    """A body shorter than was said is an error to the client, not an answer."""
    origin.answer, origin.last = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", True
    told = sandbox.commands.run(f"curl -sS http://ok.test:{origin.port}/ > /dev/null 2>&1; echo $?").stdout
    assert int(told) in (18, 56)  # curl's codes for a partial file and a failed receive


def test_an_early_answer_is_not_lost(sandbox: Sandbox, origin: Origin) -> None:
    """An origin may refuse a body that it has not read; its client hears it."""
    origin.answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"
    origin.last = True
    sandbox.commands.run("head -c 30000000 /dev/zero > /tmp/body")
    command = f"curl -s -H 'Expect:' --data-binary @/tmp/body http://ok.test:{origin.port}/; true"
    assert sandbox.commands.run(command).stdout == "big"


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH\r\n", b"\0" * 100, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, b""]
)
def test_what_is_no_http_is_a_bad_gateway(answer: bytes, speak: Speak, origin: Origin) -> None:
    """An origin that does not speak HTTP is told of as such."""
    origin.answer, origin.last = answer, True
    said = speak(f"GET http://ok.test:{origin.port}/ HTTP/1.1\r\nHost: ok.test\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 502 ")
    assert b"did not answer in HTTP" in said


def test_an_origin_that_says_nothing_is_a_timeout(serving: Serving, gateway: Gateway, origin: Origin) -> None:
    """An origin that takes the request and falls silent is a 504."""
    origin.answer = b""
    speak = Speak(Sandbox.create(**serving(replace(gateway, bounds=Bounds(idle_seconds=0.5))).options))
    said = speak(f"GET http://ok.test:{origin.port}/ HTTP/1.1\r\nHost: ok.test\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 504 ")


def test_an_answer_streams(sandbox: Sandbox) -> None:
    """The first part of an answer arrives while the origin still holds back the second."""
    seen = threading.Event()

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nfirst")
        assert seen.wait(30)
        connection.sendall(b"second")

    with socket.create_server((PUBLIC, 0)) as listening:
        worker = threading.Thread(target=lambda: _with(listening, handle))
        worker.start()
        port = listening.getsockname()[1]
        sandbox.commands.run(f"curl -sSN http://ok.test:{port}/", on_stdout=lambda text: _note(text, seen))
        worker.join(30)
    assert seen.is_set()


def _with(listening: socket.socket, handle: Callable[[socket.socket], None]) -> None:
    connection, _ = listening.accept()
    with connection:
        handle(connection)


def _note(text: str, seen: threading.Event) -> None:
    if "first" in text:
        seen.set()
