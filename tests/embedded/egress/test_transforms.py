"""Headers that a sandbox's creator has put into its requests, and which nothing inside it sees."""

from __future__ import annotations

import importlib
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import trustme
from cryptography import x509
from e2b import CommandExitException, Sandbox

from e2b_magic.embedded.egress import authority as authority_module
from e2b_magic.embedded.egress.authority import Authority
from e2b_magic.embedded.egress.destination import Destination
from e2b_magic.embedded.egress.gateway import Gateway
from e2b_magic.embedded.egress.names import NamePattern
from e2b_magic.embedded.egress.transforms import Transform, transform_for
from e2b_magic.embedded.server import environment
from tests.embedded.in_process import InProcess

from .conftest import PUBLIC, TUNNEL, HostServer, Listener, Names, Origin, Serving, Speak, until

# Holds a tunnel open, and says how it ends.
_HOLD = """
connection = tunnel("ok.test", {port})
print(connection.recv(100))
try:
    print(connection.recv(100))
except ConnectionResetError:
    print("cut")
"""


def _ruled(served: InProcess, **headers: str) -> Speak:
    rules = {"ok.test": [{"transform": {"headers": headers}}]}
    options: Any = {**served.options, "network": {"rules": rules}}
    return Speak(Sandbox.create(**options))


def _get(host: str, port: int) -> bytes:
    return f"GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}\r\nX-Key: mine\r\nX-Key: too\r\n\r\n".encode()


@pytest.mark.sandbox
def test_a_header_takes_the_place_of_the_sandboxs_own(served: InProcess, origin: Origin) -> None:
    """Requests to the rule's host carry its headers, in place of what the sandbox said; those to others do not."""
    speak = _ruled(served, **{"x-key": "canary", "X-Other": "2"})
    assert speak(_get("OK.test", origin.port)).endswith(b"ok")
    assert speak(_get("sub.ok.test", origin.port)).endswith(b"ok")
    ruled, other = ([line for line in heard.split(b"\r\n") if line.lower().startswith(b"x-")] for heard in origin.heard)
    assert ruled == [b"x-key: canary", b"X-Other: 2"]
    assert other == [b"X-Key: mine", b"X-Key: too"]


@pytest.mark.sandbox
def test_nothing_goes_without_it(served: InProcess, public: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no TLS is not carried to the rule's host, and a tunnel there is cut by a rule that comes later.

    Where no certificates can be made a tunnel is refused, with what to install.
    """
    speak = _ruled(served, A="b")
    assert b"does not speak TLS" in speak.connect("ok.test", public.port)
    with monkeypatch.context() as patch:
        patch.setattr(Authority, "available", False)
        answer = speak.connect("ok.test", public.port)
    assert answer.startswith(b"HTTP/1.1 501 ")
    assert b"pip install e2b-magic[rules]" in answer
    speak.sandbox.update_network({})
    visits = public.visits
    speak.sandbox.files.write("/tmp/hold.py", TUNNEL + _HOLD.format(port=public.port))
    held = speak.sandbox.commands.run("python3 -u /tmp/hold.py", background=True)
    until(lambda: public.visits == visits + 1)
    speak.sandbox.update_network({"rules": {"ok.test": [{"transform": {"headers": {"A": "b"}}}]}})
    assert held.wait().stdout == "b'hello\\n'\ncut\n"


class SecureOrigin(Origin):
    """An origin that speaks TLS, as ok.test and as other.test.

    Args:
        authority: Whose certificate it has.
    """

    def __init__(self, authority: trustme.CA) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("ok.test", "other.test").configure_cert(self._context)
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        """Serves what is said in TLS."""
        with suppress(OSError), self._context.wrap_socket(connection, server_side=True) as encrypted:
            super().serve(encrypted)


@pytest.fixture
def secure(gateway: Gateway, names: Names, serving: Serving) -> Iterator[tuple[InProcess, SecureOrigin]]:
    """Gives a server whose machine trusts an origin's authority, and the origin."""
    names.known["other.test"] = [PUBLIC]
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with closing(SecureOrigin(authority)) as origin:
        yield serving(replace(gateway, trust=lambda: context)), origin


# What two kinds of programs say by https://.
_ASK = """
curl -sS -H 'X-Key: mine' https://ok.test:$PORT/curl?q
python3 -c 'import os, urllib.request as r
print(r.urlopen(r.Request("https://ok.test:%s/python" % os.environ["PORT"], b"body", {"X-Key": "mine"})).read())'
"""


@pytest.mark.sandbox
def test_it_is_put_into_https_too(secure: tuple[InProcess, SecureOrigin]) -> None:
    """Programs speak TLS to the server, which they trust, and the server to the host; others' TLS it does not open."""
    served, origin = secure
    sandbox = _ruled(served, **{"x-key": "canary"}).sandbox
    port = {"PORT": str(origin.port)}
    assert sandbox.commands.run(_ASK, envs=port).stdout == "okb'ok'\n"
    until(lambda: len(origin.heard) == 2)
    curl, python = sorted(origin.heard)
    assert curl.startswith(b"GET /curl?q HTTP/1.1\r\n")
    assert python.startswith(b"POST /python HTTP/1.1\r\n")
    assert b"\r\n\r\nbody" in python
    for heard in (curl, python):
        assert f"\r\nhost: ok.test:{origin.port}\r\n".encode() in heard.lower()
        assert b"\r\nx-key: canary\r\n" in heard
        assert b"mine" not in heard
    with pytest.raises(CommandExitException, match="certificate"):  # the host's own, whose authority it does not trust
        sandbox.commands.run("curl -sS https://other.test:$PORT/", envs=port)


# Programs that each look at one variable of those that name the certificates.
_PROGRAMS = {
    "CURL_CA_BUNDLE": "curl -sS https://ok.test:$PORT/",
    "GIT_SSL_CAINFO": "git ls-remote https://ok.test:$PORT/repository",
    "PIP_CERT": "pip download --retries 0 --index-url https://ok.test:$PORT/ hello",
    "SSL_CERT_FILE": "python3 -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1])' https://ok.test:$PORT/",
}


@pytest.mark.sandbox
def test_each_variable_alone_makes_its_program_trust_the_server(secure: tuple[InProcess, SecureOrigin]) -> None:
    """A program asks the host when its own variable alone is there, and does not when none is."""
    served, origin = secure
    sandbox = _ruled(served, **{"X-Key": "canary"}).sandbox
    port = {"PORT": str(origin.port)}
    sandbox.commands.run("command -v pip || python3 -m venv /tmp/venv")
    for variable, program in _PROGRAMS.items():
        others = [one for one in environment._VARIABLES if one != variable]
        for left_out, asked in ((environment._VARIABLES, False), (others, True)):
            before = len(origin.heard)
            unset = " ".join(f"-u {one}" for one in left_out)
            # What comes back is an answer to curl alone: the others say that it is none of theirs.
            told = sandbox.commands.run(f"PATH+=:/tmp/venv/bin; env {unset} {program} 2>&1; true", envs=port).stdout
            assert any(b"\r\nX-Key: canary\r\n" in heard for heard in origin.heard[before:]) == asked, told


@pytest.mark.sandbox
def test_whom_the_system_trusts_is_trusted_still(
    serving: Serving, gateway: Gateway, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the server's authority the system's are in the file: hosts without a rule are asked as before."""
    authority = trustme.CA()
    system = tmp_path / "system.pem"
    system.write_bytes(authority.cert_pem.bytes())
    monkeypatch.setattr(environment, "_SYSTEMS", (str(tmp_path / "another system's.pem"), str(system)))
    names.known["other.test"] = [PUBLIC]
    with closing(SecureOrigin(authority)) as origin:
        sandbox = _ruled(serving(gateway), A="b").sandbox
        assert sandbox.commands.run(f"curl -sS https://other.test:{origin.port}/").stdout == "ok"


@pytest.mark.sandbox
@pytest.mark.parametrize("method", ["TRACE", "TRACK"])
def test_no_host_is_asked_to_send_it_back(secure: tuple[InProcess, SecureOrigin], origin: Origin, method: str) -> None:
    """A request that a server would answer with itself goes to no host with a rule, by http:// or by https://."""
    served, encrypted = secure
    speak = _ruled(served, **{"X-Key": "canary"})
    said = _get("ok.test", origin.port).replace(b"GET", method.encode())
    assert speak(said).startswith(b"HTTP/1.1 405 ")
    asked = f"curl -sS -o /dev/null -w '%{{http_code}}' -X {method} https://ok.test:{encrypted.port}/"
    assert speak.sandbox.commands.run(asked).stdout == "405"
    assert speak(said.replace(b"//ok.test", b"//sub.ok.test")).endswith(b"ok")
    assert not any(b"canary" in heard for heard in origin.heard + encrypted.heard)


@pytest.mark.sandbox
def test_a_rule_may_come_later(secure: tuple[InProcess, SecureOrigin]) -> None:
    """A sandbox that is given a rule while it runs trusts the server from its next command on."""
    served, origin = secure
    sandbox = Sandbox.create(**served.options)
    sandbox.update_network({"rules": {"ok.test": [{"transform": {"headers": {"X-Key": "canary"}}}]}})
    assert sandbox.commands.run(f"curl -sS https://ok.test:{origin.port}/").stdout == "ok"
    until(lambda: len(origin.heard) == 1)
    assert b"\r\nX-Key: canary\r\n" in origin.heard[0]


@pytest.mark.sandbox
def test_whom_this_machine_does_not_trust_gets_nothing(serving: Serving, gateway: Gateway) -> None:
    """A host whose certificate is not what it should be is told nothing, the rule's headers least of all."""
    with closing(SecureOrigin(trustme.CA())) as origin:
        sandbox = _ruled(serving(gateway), A="canary").sandbox
        with pytest.raises(CommandExitException, match="502"):
            sandbox.commands.run(f"curl -sS https://ok.test:{origin.port}/")
        assert origin.heard == []


class Resetting(HostServer):
    """A server that breaks every connection off."""

    def serve(self, connection: socket.socket) -> None:
        """Leaves most of what it was told unread, which makes a reset of its end."""
        connection.recv(1)


@pytest.mark.sandbox
def test_a_host_that_breaks_off_is_told_of(served: InProcess) -> None:
    """A host that resets the connection when TLS begins is a bad gateway, like one that does not speak it."""
    with closing(Resetting()) as origin:
        answer = _ruled(served, A="b").connect("ok.test", origin.port)
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"broke the connection off" in answer


@pytest.mark.sandbox
def test_a_key_in_it_is_nowhere_inside(served: InProcess, origin: Origin) -> None:
    """What a rule puts in is in no process's environment, and in no repr."""
    sandbox = _ruled(served, A="canary").sandbox
    assert "canary" not in sandbox.commands.run("cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'; true").stdout
    live = served.sandboxes.get(sandbox.sandbox_id)
    assert live is not None
    assert live.egress.policy.transforms
    assert "canary" not in repr((live.egress.policy, live.record.creation))


def test_one_rule_holds_and_the_nearest() -> None:
    """An exact name's rule comes before those for the names below one, and of these the longest's."""
    rules = [Transform(NamePattern.parse(text), ()) for text in ("*.test", "*.a.test", "b.a.test")]
    for host, name in {"b.a.test": "b.a.test", "c.b.a.test": "a.test", "c.a.test": "a.test", "a.test": "test"}.items():
        found = transform_for(Destination(host, 80), rules)
        assert found is not None
        assert found.pattern.name == name
    assert transform_for(Destination("test", 80), rules) is None


class Breaking(Authority):
    """An authority whose certificates cannot be made."""

    @property
    def certificate(self) -> str:
        """Fails as what is half installed does."""
        raise ImportError("a library is missing")


class Slow(Authority):
    """An authority that is long in making its certificate."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.release = threading.Event(), threading.Event()

    @property
    def certificate(self) -> str:
        """Gives it when it is told to."""
        self.asked.set()
        assert self.release.wait(20)
        return super().certificate


def _create(served: InProcess) -> int:
    """Asks for a sandbox with a rule; gives the answer's status."""
    rules = {"ok.test": [{"transform": {"headers": {"A": "b"}}}]}
    with served.control() as control:
        return control.post("/sandboxes", json={"templateID": "base", "network": {"rules": rules}}).status_code


def _left(served: InProcess, tmp_path: Path) -> list[object]:
    """Gives the directories and processes of sandboxes, of which there should be none."""
    assert len(served.sandboxes) == 0
    processes = [one for one in psutil.Process().children() if one.name() == "bwrap"]
    return [*tmp_path.glob("server-*/i*"), *processes]


@pytest.mark.sandbox
def test_what_cannot_begin_leaves_nothing(serving: Serving, gateway: Gateway, tmp_path: Path) -> None:
    """A sandbox that fails after its start, whatever the failure, leaves neither processes nor files."""
    served = serving(replace(gateway, authority=Breaking()))
    assert _create(served) == 500
    assert _left(served, tmp_path) == []


@pytest.mark.sandbox
def test_none_begins_once_the_server_has_closed(serving: Serving, gateway: Gateway, tmp_path: Path) -> None:
    """A sandbox that is still being made to trust the server when that closes does not begin."""
    authority = Slow()
    served = serving(replace(gateway, authority=authority))
    with ThreadPoolExecutor(1) as pool:
        creating = pool.submit(_create, served)
        assert authority.asked.wait(20)
        served.run(served.sandboxes.close())
        authority.release.set()
        assert creating.result(30) == 503
    assert _left(served, tmp_path) == []


def test_what_is_found_and_cannot_be_imported_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is there and broken is one that is missing: requests are told so, and no sandbox fails."""

    def broken(name: str) -> None:
        raise ImportError(name)

    authority_module._is_importable.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(importlib, "import_module", broken)
        assert not Authority().available
    authority_module._is_importable.cache_clear()
    assert Authority().available


def test_certificates_outlive_no_server() -> None:
    """An authority's own is good for ten years, and a host's is made anew long before it is over."""
    now = datetime.now(UTC)
    authority = Authority(lambda: now)
    first = authority.context_for("ok.test")
    own = x509.load_pem_x509_certificate(authority.certificate.encode())
    now += timedelta(days=44)
    assert authority.context_for("ok.test") is first
    now += timedelta(days=2)
    assert authority.context_for("ok.test") is not first
    assert own.not_valid_after_utc > now + timedelta(days=3600)
