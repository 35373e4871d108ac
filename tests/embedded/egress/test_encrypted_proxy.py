"""TLS to the SOCKS5 proxy of a sandbox's creator: whose certificate it must be, and that nothing is said without it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import trustme
from e2b import Sandbox

from tests.embedded.in_process import InProcess

from .conftest import PUBLIC, Listener, Names, Socks, Speak, run

pytestmark = pytest.mark.sandbox

# Speaks through the tunnel, says goodbye, and only then listens.
_HALF = """
connection = tunnel("ok.test", 443)
connection.sendall(b"0123456789abcdef" * 200_000)
connection.shutdown(socket.SHUT_WR)
came = b""
while part := connection.recv(1 << 20):
    came += part
print(came == b"0123456789abcdef" * 600_000)
"""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Gives an authority of the test's own."""
    return trustme.CA()


@pytest.fixture
def proxy(authority: trustme.CA, names: Names) -> Iterator[Socks]:
    """Gives a proxy named proxy.test, which speaks TLS."""
    names.known["proxy.test"] = [PUBLIC]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("proxy.test").configure_cert(context)
    with closing(Socks(encryption=context)) as proxy:
        yield proxy


def _proxied(served: InProcess, address: str, tls: object) -> Speak:
    egress_proxy = {"address": address, "username": "me", "password": "canary", "tls": tls}
    options: Any = {**served.options, "network": {"egress_proxy": egress_proxy}}
    return Speak(Sandbox.create(**options))


def _pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


def test_all_is_said_in_tls(served: InProcess, proxy: Socks, authority: trustme.CA) -> None:
    """The proxy is called by its name, told who asks, and asked, all by TLS; its certificate is shown to nobody."""
    speak = _proxied(served, f"proxy.test:{proxy.port}", {"ca_cert": _pem(authority)})
    assert speak.connect("ok.test", 443).endswith(b"\r\n\r\nby the proxy\n")
    assert proxy.names == ["proxy.test"]
    assert proxy.told == [(b"me", b"canary")]
    assert [port for _, _, port in proxy.asked] == [443]
    with served.control() as control:
        network = control.get(f"/sandboxes/{speak.sandbox.sandbox_id}").json()["network"]
    address = f"proxy.test:{proxy.port}"
    assert network["egressProxy"] == {"address": address, "username": "me", "tls": {"enabled": True}}


def test_another_name_may_be_expected(served: InProcess, proxy: Socks, authority: trustme.CA) -> None:
    """A proxy that is reached by another name or address than its certificate has is called as `server_name` says."""
    tls = {"ca_cert": _pem(authority), "server_name": "proxy.test"}
    speak = _proxied(served, f"{PUBLIC}:{proxy.port}", tls)
    assert speak.connect("ok.test", 443).endswith(b"by the proxy\n")
    assert proxy.names == ["proxy.test"]


def test_whoever_cannot_be_trusted_is_told_nothing(served: InProcess, proxy: Socks, authority: trustme.CA) -> None:
    """A certificate of nobody whom this machine trusts, or of another name, is refused, and the password not told."""
    named = _proxied(served, f"proxy.test:{proxy.port}", True)
    assert b"its certificate is not trusted" in named.connect("ok.test", 443)
    addressed = _proxied(served, f"{PUBLIC}:{proxy.port}", {"ca_cert": _pem(authority)})
    assert b"its certificate is not trusted" in addressed.connect("ok.test", 443)
    assert proxy.told == []


def test_there_is_no_way_back_to_plain(served: InProcess, socks: Socks, public: Listener) -> None:
    """A proxy that speaks no TLS, or says something else first, is a failure, and is told nothing else."""
    for port in (socks.port, public.port):
        speak = _proxied(served, f"{PUBLIC}:{port}", True)
        answer = speak.connect("ok.test", 443)
        assert answer.startswith(b"HTTP/1.1 502 ")
    assert not socks.told
    assert not socks.asked


def test_who_has_said_all_still_listens(served: InProcess, proxy: Socks, authority: trustme.CA) -> None:
    """A program's shutdown reaches the proxy as TLS's goodbye, and what the proxy says after it comes whole."""
    proxy.echoes = True
    speak = _proxied(served, f"proxy.test:{proxy.port}", {"ca_cert": _pem(authority)})
    assert run(speak.sandbox, _HALF) == "True\n"


def test_what_is_cut_off_is_not_taken_for_whole(served: InProcess, proxy: Socks, authority: trustme.CA) -> None:
    """An end of the connection without TLS's goodbye is passed on as a reset."""
    proxy.polite = False
    speak = _proxied(served, f"proxy.test:{proxy.port}", {"ca_cert": _pem(authority)})
    assert speak.connect("ok.test", 443).endswith(b"<reset>")
