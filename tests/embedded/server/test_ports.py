"""HTTP to what a sandbox serves: by the routing headers and by host name, streamed both ways, and only inside."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from e2b import Sandbox

from e2b_magic.embedded.endpoint import Endpoint

pytestmark = pytest.mark.sandbox

_ECHO = """
import http.server, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = b""
        if self.headers["Transfer-Encoding"] == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(str(len(body)).encode())
    def do_GET(self):
        if self.path == "/endless":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 10)
                    time.sleep(0.05)
            finally:
                open("left", "w").close()
        elif self.path == "/slow":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            for part in (b"one", b"two"):
                self.wfile.write(part)
                time.sleep(0.7)
            self.close_connection = True
        else:
            self.answer((self.path + "|" + str(self.headers)).encode())
    def answer(self, content):
        self.send_response(203)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Own", "yes")
        self.end_headers()
        self.wfile.write(content)
http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
"""
_OTHER = """
import socket
listening = socket.create_server(("127.0.0.1", 8001))
while True:
    listening.accept()[0].send(b"no HTTP")
"""


@pytest.fixture(scope="module")
def served(options: dict[str, Any]) -> Iterator[Sandbox]:
    """Gives a sandbox with an HTTP server on port 8000, and on 8001 one that speaks something else."""
    with Sandbox.create(**options) as sandbox:
        sandbox.files.write("echo.py", _ECHO)
        sandbox.commands.run("python3 echo.py", background=True, timeout=0)
        sandbox.files.write("other.py", _OTHER)
        sandbox.commands.run("python3 other.py", background=True, timeout=0)
        up = "(: < /dev/tcp/127.0.0.1/8000 && : < /dev/tcp/127.0.0.1/8001) 2>&-"
        sandbox.commands.run(f"until {up}; do sleep 0.05; done")
        yield sandbox


@pytest.fixture
def port(server: Endpoint, served: Sandbox) -> Iterator[httpx.Client]:
    """Gives a client that speaks to port 8000 of the sandbox."""
    headers = {"E2b-Sandbox-Id": served.sandbox_id, "E2b-Sandbox-Port": "8000"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as client:
        yield client


def test_a_request_reaches_the_port(port: httpx.Client) -> None:
    """Path, query and headers arrive as they were sent, and so do status and headers of the answer."""
    answer = port.get("/a%20b?c=%2F&d", headers={"X-Mine": "value"})
    assert answer.status_code == 203
    assert answer.headers["x-own"] == "yes"
    assert answer.text.startswith("/a%20b?c=%2F&d|")
    assert "value" in answer.text


def test_the_keys_stay_outside(port: httpx.Client) -> None:
    """What opens the server or the sandbox is not passed on to what runs inside."""
    secret = {"X-API-Key": "canary", "X-Access-Token": "canary", "E2b-Traffic-Access-Token": "canary"}
    assert "canary" not in port.get("/", headers=secret).text


def test_a_host_name_leads_to_the_port(server: Endpoint, served: Sandbox) -> None:
    """`<port>-<sandbox id>.localhost` is an origin of the port's own."""
    answer = httpx.get(f"{server.url}/x", headers={"Host": f"8000-{served.sandbox_id}.localhost:1"}, trust_env=False)
    assert answer.text.startswith("/x|")


def test_a_large_body_passes(port: httpx.Client) -> None:
    """A body of known length and a streamed one arrive whole."""
    assert port.post("/", content=bytes(20_000_000)).text == "20000000"
    assert port.post("/", content=iter([b"x" * 100_000] * 20)).text == "2000000"


def test_an_answer_streams(port: httpx.Client) -> None:
    """The first part of a slow answer arrives before the second is written."""
    began = time.monotonic()
    with port.stream("GET", "/slow") as answer:
        parts = [(part, time.monotonic() - began) for part in answer.iter_raw()]
    assert [part for part, _ in parts] == [b"one", b"two"]
    assert parts[0][1] < 0.6


def test_an_answer_ends_when_its_client_leaves(port: httpx.Client, served: Sandbox) -> None:
    """A server inside learns that nobody listens to its endless answer any more."""
    with port.stream("GET", "/endless") as answer:
        assert next(answer.iter_raw()).startswith(b"x")
    served.commands.run("until [ -e left ]; do sleep 0.05; done", timeout=10)


def test_a_closed_port_is_told_as_e2b_does(port: httpx.Client, served: Sandbox) -> None:
    """Where nothing listens inside, the answer is E2B's, although the host may well listen there."""
    with closing(socket.create_server(("127.0.0.1", 0))) as outside:
        number = outside.getsockname()[1]
        answer = port.get("/", headers={"E2b-Sandbox-Port": str(number)})
    assert answer.status_code == 502
    assert answer.json() == {
        "sandboxId": served.sandbox_id,
        "message": "The sandbox is running but port is not open",
        "port": number,
        "code": 502,
    }


def test_what_speaks_no_http_is_a_bad_gateway(port: httpx.Client) -> None:
    """An answer that is not HTTP is told as such."""
    answer = port.get("/", headers={"E2b-Sandbox-Port": "8001"})
    assert answer.status_code == 502
    assert "did not answer in HTTP" in answer.json()["message"]


@pytest.mark.parametrize("number", ["0", "65536", "-1", "80a", "99999999"])
def test_a_port_is_a_number(port: httpx.Client, number: str) -> None:
    """What is no port is refused."""
    assert port.get("/", headers={"E2b-Sandbox-Port": number}).status_code == 400


def test_private_ports_need_their_token(server: Endpoint, options: dict[str, Any]) -> None:
    """Where traffic is not public, a port answers with the sandbox's traffic token alone."""
    with Sandbox.create(**options, network={"allow_public_traffic": False}) as sandbox:
        headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "8000"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False) as client:
            assert client.get("/").status_code == 403
            assert client.get("/", headers={"e2b-traffic-access-token": "wrong"}).status_code == 403
            token = {"e2b-traffic-access-token": str(sandbox.traffic_access_token)}
            assert client.get("/", headers=token).status_code == 502
