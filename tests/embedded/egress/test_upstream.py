"""Machines that leave by a proxy of their own: sandboxes go through it too, and it gets what was judged."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from e2b import Sandbox

from e2b_magic.embedded.egress.gateway import Gateway
from e2b_magic.embedded.egress.refusals import Refusal
from e2b_magic.embedded.egress.upstream import UpstreamProxy
from e2b_magic.exceptions import ConfigurationError

from .conftest import FORBIDDEN, PUBLIC, HostServer, Listener, Names, Serving, Speak


class CompanyProxy(HostServer):
    """A proxy on the host that notes what it is asked, answers, and then is the destination itself.

    Attributes:
        asked: The heads that it got.
        answer: Its answer to each.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = b"HTTP/1.1 200 OK\r\nVia: company\r\n\r\nhello\n"
        super().__init__("127.0.0.1")

    def serve(self, connection: socket.socket) -> None:
        """Notes a head, and answers it."""
        head = b""
        while not head.endswith(b"\r\n\r\n") and (part := connection.recv(1)):
            head += part
        self.asked.append(head.decode())
        connection.sendall(self.answer)


@pytest.fixture
def company() -> Iterator[CompanyProxy]:
    """Gives the machine's own proxy."""
    with closing(CompanyProxy()) as company:
        yield company


def _speak(serving: Serving, gateway: Gateway, upstream: UpstreamProxy | None, **options: Any) -> Speak:
    assert upstream is not None
    return Speak(Sandbox.create(**serving(replace(gateway, upstream=upstream)).options, **options))


@pytest.mark.sandbox
def test_the_proxy_gets_the_address_that_was_judged(serving: Serving, gateway: Gateway, company: CompanyProxy) -> None:
    """It is asked for the address and not for the name, and told who asks."""
    upstream = UpstreamProxy.from_environment({"HTTPS_PROXY": f"http://me:p%40ss@127.0.0.1:{company.port}"})
    speak = _speak(serving, gateway, upstream)
    assert speak.connect("ok.test", 443) == b"HTTP/1.1 200 Connection established\r\n\r\nhello\n"
    credentials = base64.b64encode(b"me:p@ss").decode()
    assert company.asked[0].startswith(f"CONNECT {PUBLIC}:443 HTTP/1.1\r\n")
    assert f"Proxy-Authorization: Basic {credentials}\r\n" in company.asked[0]
    assert credentials not in repr(upstream)
    assert "p@ss" not in repr(upstream)


@pytest.mark.sandbox
@pytest.mark.parametrize("host", [FORBIDDEN, "inside.test", "169.254.169.254", "unknown.test"])
def test_what_is_forbidden_does_not_reach_the_proxy(
    host: str, serving: Serving, gateway: Gateway, company: CompanyProxy
) -> None:
    """A forbidden address, and a name that cannot be judged here, are refused before the proxy hears of them."""
    speak = _speak(serving, gateway, UpstreamProxy(host="127.0.0.1", port=company.port))
    assert speak.connect(host, 443).startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 502 "))
    assert company.asked == []


@pytest.mark.sandbox
def test_a_proxy_may_be_trusted_with_names(serving: Serving, gateway: Gateway, company: CompanyProxy) -> None:
    """Where the setting says so it gets names, also such as nobody else knows; forbidden addresses and rules hold."""
    url = {"HTTPS_PROXY": f"127.0.0.1:{company.port}", "E2B_MAGIC_EGRESS_PROXY_RESOLVES": "1"}
    upstream = UpstreamProxy.from_environment(url)
    speak = _speak(serving, gateway, upstream)
    for host in ("ok.test", "unknown.test"):
        assert b"hello" in speak.connect(host, 443)
    assert [head.split()[1] for head in company.asked] == ["ok.test:443", "unknown.test:443"]
    for host in (FORBIDDEN, "inside.test"):
        assert speak.connect(host, 443).startswith(b"HTTP/1.1 403 ")
    ruled = _speak(serving, gateway, upstream, network={"deny_out": ["9.9.9.9"]})
    assert ruled.connect("unknown.test", 443).startswith(b"HTTP/1.1 403 ")
    assert len(company.asked) == 2


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"answered 407"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n", b"answered 302"),
        (b"SSH-2.0-x\r\n\r\n", b"did not answer in HTTP"),
        (b"", b"closed the connection"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 20_000, b"too long a head"),
    ],
)
def test_a_proxy_that_refuses_is_named(
    answer: bytes, said: bytes, serving: Serving, gateway: Gateway, company: CompanyProxy
) -> None:
    """What the proxy refuses, or cannot say, is a 502 that says it was the machine's own proxy."""
    company.answer = answer
    speak = _speak(serving, gateway, UpstreamProxy(host="127.0.0.1", port=company.port))
    told = speak.connect("ok.test", 443)
    assert told.startswith(b"HTTP/1.1 502 ")
    assert b"this machine's own proxy" in told
    assert said in told


@pytest.mark.sandbox
def test_exceptions_are_dialled_without_it(
    serving: Serving, gateway: Gateway, names: Names, company: CompanyProxy, public: Listener
) -> None:
    """What `NO_PROXY` names goes straight there."""
    environment = {"https_proxy": f"http://127.0.0.1:{company.port}", "no_proxy": "ok.test,localhost"}
    speak = _speak(serving, gateway, UpstreamProxy.from_environment(environment))
    assert b"goodbye" in speak.connect("sub.ok.test", public.port)
    assert company.asked == []
    assert b"hello" in speak.connect("other.test", 443)
    assert len(company.asked) == 1


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1080", "https://127.0.0.1:1", "http://[::1", "http://a:99999"])
async def test_a_proxy_of_another_kind_is_no_way_out(url: str) -> None:
    """A proxy that cannot be used is not gone around, nor asked in a way that is not its own."""
    upstream = UpstreamProxy.from_environment({"ALL_PROXY": url})
    assert upstream is not None
    with pytest.raises(Refusal, match="this machine's own proxy cannot be used"):
        await upstream.dial("ok.test", 443)


def test_a_switch_is_on_or_off() -> None:
    """A setting that is neither is an error."""
    proxy = {"HTTPS_PROXY": "http://127.0.0.1:1"}
    for text, resolves in (("yes", True), ("0", False), ("", False)):
        upstream = UpstreamProxy.from_environment({**proxy, "E2B_MAGIC_EGRESS_PROXY_RESOLVES": text})
        assert upstream is not None
        assert upstream.resolves is resolves
    with pytest.raises(ConfigurationError, match="must be 1 or 0"):
        UpstreamProxy.from_environment({**proxy, "E2B_MAGIC_EGRESS_PROXY_RESOLVES": "maybe"})


@pytest.mark.sandbox
def test_the_next_address_is_tried_there_too(
    serving: Serving, gateway: Gateway, names: Names, company: CompanyProxy
) -> None:
    """Where the proxy does not reach a name's first address it is asked for the next, and its last word is told."""
    company.answer = b"HTTP/1.1 503 Unavailable\r\n\r\n"
    names.known["several.test"] = ["127.0.1.99", PUBLIC]
    told = _speak(serving, gateway, UpstreamProxy(host="127.0.0.1", port=company.port)).connect("several.test", 443)
    assert [head.split()[1] for head in company.asked] == ["127.0.1.99:443", f"{PUBLIC}:443"]
    assert told.startswith(b"HTTP/1.1 502 ")
    assert b"answered 503" in told


def test_without_a_proxy_there_is_none() -> None:
    """An environment that names none, or an empty one, means the direct way."""
    assert UpstreamProxy.from_environment({}) is None
    assert UpstreamProxy.from_environment({"HTTPS_PROXY": "", "NO_PROXY": "x"}) is None
