"""HTTP to what a sandbox serves: by the routing headers and by host name, streamed both ways, and only inside."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import psutil
import pytest
import trustme
from e2b import Sandbox, SandboxException

from e2b_magic.embedded.endpoint import Endpoint

pytestmark = pytest.mark.sandbox

_ECHO = """
import http.server, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = bytearray()
        if self.headers["Transfer-Encoding"] == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(str(len(body)).encode())
    def do_GET(self):
        if self.path == "/large":
            self.send_response(200)
            self.send_header("Content-Length", str(100 << 20))
            self.end_headers()
            for _ in range(100):
                self.wfile.write(bytes(1 << 20))
        elif self.path == "/999":
            self.wfile.write(b"HTTP/1.1 999 Odd\\r\\n\\r\\n")
            self.close_connection = True
        elif self.path == "/endless":
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
    # Names with the letters that HTTP/1.1's programs write and, at times, compare.
    names = {line.partition(":")[0] for line in answer.text.partition("|")[2].splitlines()}
    assert {"Host", "X-Mine", "User-Agent"} <= names
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


@pytest.mark.slow
def test_memory_stays_flat(port: httpx.Client, server: Endpoint) -> None:
    """100 MB each way pass through the server without lying in it."""
    daemon = psutil.Process(server.pid)
    port.get("/")
    before, most = daemon.memory_info().rss, 0

    def chunks() -> Iterator[bytes]:
        nonlocal most
        for _ in range(100):
            yield bytes(1 << 20)
            most = max(most, daemon.memory_info().rss)

    assert port.post("/", content=chunks(), timeout=60).text == str(100 << 20)
    received = 0
    with port.stream("GET", "/large", timeout=60) as answer:
        for chunk in answer.iter_raw(1 << 20):
            received += len(chunk)
            most = max(most, daemon.memory_info().rss)
    assert received == 100 << 20
    assert most - before < 30 << 20


def test_what_is_about_the_connection_is_not_passed_on(port: httpx.Client) -> None:
    """Headers that the client names as its connection's stay outside, and so does a length beside chunks."""
    headers = {"Connection": "X-Mine, close", "X-Mine": "value", "TE": "trailers", "Keep-Alive": "5"}
    told = port.get("/", headers=headers).text.lower()
    assert not [name for name in ("x-mine", "te:", "keep-alive") if name in told]


def test_the_host_can_be_masked(server: Endpoint, options: dict[str, Any]) -> None:
    """With `mask_request_host` a server inside is told that host, with the port where that is asked for."""
    with Sandbox.create(**options, network={"mask_request_host": "localhost:${PORT}"}) as sandbox:
        serve = 'python3 -c \'import socket; s = socket.create_server(("", 8080)); c = s.accept()[0];'
        serve += ' d = c.recv(9999); c.send(b"HTTP/1.1 200 OK\\r\\n\\r\\n" + d)\''
        sandbox.commands.run(serve, background=True, timeout=0)
        sandbox.commands.run("until grep -q :1F90 /proc/net/tcp; do sleep 0.05; done")
        answer = httpx.get(server.url, headers={"Host": f"8080-{sandbox.sandbox_id}.localhost"}, trust_env=False)
        assert "host: localhost:8080\r\n" in answer.text.lower()
    with pytest.raises(SandboxException, match="maskRequestHost"):
        Sandbox.create(**options, network={"mask_request_host": "a\r\nb"})


def test_a_port_may_speak_https(server: Endpoint, options: dict[str, Any]) -> None:
    """A port in `https_ports` is spoken to by TLS, whatever its certificate; if it speaks plain HTTP that is told."""
    serve = (
        "import http.server, ssl\ncontext = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\ncontext.load_cert_chain('pem')\n"
    )
    serve += "served = http.server.HTTPServer(('', 8443), http.server.SimpleHTTPRequestHandler)\n"
    serve += "served.socket = context.wrap_socket(served.socket, server_side=True)\nserved.serve_forever()\n"
    with Sandbox.create(**options, network={"https_ports": [8443, 8080]}) as sandbox:
        certificate = trustme.CA().issue_cert("self.test").private_key_and_cert_chain_pem.bytes()
        sandbox.files.write_files([{"path": "pem", "data": certificate}, {"path": "serve.py", "data": serve}])
        sandbox.commands.run("python3 serve.py & python3 -m http.server 8080", background=True, timeout=0)
        up = "(: < /dev/tcp/127.0.0.1/8443 && : < /dev/tcp/127.0.0.1/8080) 2>&-"
        sandbox.commands.run(f"until {up}; do sleep 0.05; done")
        secure, plain = (
            httpx.get(
                f"{server.url}/serve.py", headers={"Host": f"{port}-{sandbox.sandbox_id}.localhost"}, trust_env=False
            )
            for port in (8443, 8080)
        )
    assert secure.text == serve
    assert plain.status_code == 502
    assert "did not answer in HTTPS" in plain.json()["message"]
    with pytest.raises(SandboxException, match="httpsPorts"):
        Sandbox.create(**options, network={"https_ports": [49983]})


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


def test_a_browser_is_shown_a_page(port: httpx.Client, served: Sandbox) -> None:
    """Who asks for HTML is told of a closed port, or of a sandbox that is gone, by a page in which nothing runs."""
    html = {"Accept": "text/html,*/*", "E2b-Sandbox-Port": "1"}
    answer = port.get("/", headers=html)
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert "port is not open" in answer.text
    assert "Start a server" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    gone = port.get("/", headers={**html, "E2b-Sandbox-Id": "<b>gone"})
    assert (gone.status_code, "<b>gone" in gone.text, "&lt;b&gt;gone" in gone.text) == (502, False, True)


def test_a_status_that_http_has_not(port: httpx.Client) -> None:
    """A status that is none is a bad gateway, not a failure of the server's."""
    answer = port.get("/999")
    assert (answer.status_code, "did not answer in HTTP" in answer.text) == (502, True)


def test_the_server_is_no_proxy(server: Endpoint) -> None:
    """A request for a tunnel is refused."""
    with closing(socket.create_connection(("127.0.0.1", server.port))) as connection:
        connection.sendall(b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(9999).startswith(b"HTTP/1.1 405 ")


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
