"""The ways out of a sandbox, each tried from inside against what really listens; and tried again without its guard."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import psutil
import pytest
from e2b import Sandbox, SandboxNetworkOpts

from e2b_magic.embedded.egress import addresses, destination, gateway, policy
from e2b_magic.embedded.egress.addresses import Guard
from e2b_magic.embedded.egress.destination import Address
from e2b_magic.embedded.egress.gateway import Gateway, Route
from e2b_magic.embedded.egress.lookups import system_look_up
from e2b_magic.embedded.egress.names import NamePattern
from e2b_magic.embedded.egress.proxy import PORT
from tests.embedded.in_process import InProcess

from .conftest import ALL, FORBIDDEN, OTHER, PUBLIC, Listener, Names, Serving, Speak

pytestmark = pytest.mark.sandbox

RULES: SandboxNetworkOpts = {"allow_out": ["*.ok.test"], "deny_out": ["0.0.0.0/0"]}


def _reached(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 200 ") and b"hello" in answer


def _refused(answer: bytes) -> bool:
    status, _, rest = answer.partition(b"\r\n")
    line = rest.rpartition(b"\r\n\r\n")[2].strip()
    return status.startswith(b"HTTP/1.1 403 ") and bool(line) and line in status


def test_the_internet_is_reached(speak: Speak, public: Listener) -> None:
    """What the machine and the rules allow is reached, by address and by name."""
    assert _reached(speak.connect(PUBLIC, public.port))
    assert _reached(speak.connect("ok.test", public.port))
    assert public.visits == 2


@pytest.mark.parametrize("host", [FORBIDDEN, "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "inside.test", "mixed.test"])
def test_the_hosts_loopback_is_out_of_reach(host: str, serving: Serving, gateway: Gateway, forbidden: Listener) -> None:
    """No spelling of the host's loopback, and no name for it, gets there; but for the guard, each would."""
    guarded = Speak(Sandbox.create(**serving(gateway).options))
    assert _refused(guarded.connect(host, forbidden.port))
    assert forbidden.visits == 0
    unguarded = Speak(Sandbox.create(**serving(replace(gateway, guard=Guard(ALL))).options))
    assert _reached(unguarded.connect(host, forbidden.port))
    assert forbidden.visits == 1


def test_the_hosts_ipv6_loopback_is_out_of_reach(serving: Serving, gateway: Gateway) -> None:
    """Nor does IPv6 lead there; but for the guard, it would."""
    try:
        listener = Listener("::1", family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    with closing(listener):
        assert _refused(Speak(Sandbox.create(**serving(gateway).options)).connect("[::1]", listener.port))
        assert listener.visits == 0
        unguarded = Speak(Sandbox.create(**serving(replace(gateway, guard=Guard(ALL))).options))
        assert _reached(unguarded.connect("[::1]", listener.port))


@pytest.mark.parametrize("host", ["0x7f.1", "2130706433", "127.1", "0177.0.0.1", "0x7f000001"])
def test_odd_spellings_are_no_addresses(
    host: str, serving: Serving, gateway: Gateway, forbidden: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only a resolver takes for an address is refused; but for that, and the guard, it would lead there."""
    real = replace(gateway, look_up=system_look_up)
    assert _refused(Speak(Sandbox.create(**serving(real).options)).connect(host, forbidden.port))
    monkeypatch.setattr(destination, "_NUMBER", re.compile(r"(?!)"))
    # Two walls stand here: the address that it leads to is judged as well.
    assert _refused(Speak(Sandbox.create(**serving(real).options)).connect(host, forbidden.port))
    assert forbidden.visits == 0
    unguarded = replace(real, guard=Guard(ALL))
    assert _reached(Speak(Sandbox.create(**serving(unguarded).options)).connect(host, forbidden.port))


@pytest.fixture
def own_address() -> Iterator[Listener]:
    """Gives a listener on an address of this machine's that no range forbids."""
    for places in psutil.net_if_addrs().values():
        for place in places:
            if place.family != socket.AF_INET:
                continue
            address = ipaddress.ip_address(place.address)
            if not any(address in network for network, _ in addresses._FORBIDDEN):
                with closing(Listener(place.address)) as listener:
                    yield listener
                return
    pytest.skip("every address of this machine is in a forbidden range")


def test_the_machines_own_address_is_out_of_reach(
    serving: Serving, own_address: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What listens on the machine's public address is not for its sandboxes; but for the guard, it would be."""
    host = own_address._listening.getsockname()[0]
    assert _refused(Speak(Sandbox.create(**serving(Gateway()).options)).connect(host, own_address.port))
    assert own_address.visits == 0
    monkeypatch.setattr(addresses, "is_own", lambda _: False)
    monkeypatch.setattr(addresses, "own_networks", list)
    assert _reached(Speak(Sandbox.create(**serving(Gateway()).options)).connect(host, own_address.port))


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "168.63.129.16", "[64:ff9b::a9fe:a9fe]"])
def test_metadata_services_are_out_of_reach(host: str, speak: Speak) -> None:
    """A cloud's metadata service is refused before it is dialled."""
    assert _refused(speak.connect(host, 80))


@pytest.mark.parametrize("host", ["evilok.test", "ok.test", OTHER, "[::ffff:127.0.1.11]", "other.test"])
def test_only_what_is_allowed_is_reached(
    host: str, served: InProcess, other: Listener, public: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`*.ok.test` allows what is below it, and nothing that only looks so; nor an address; but for the rules, all."""
    speak = Speak(Sandbox.create(**served.options, network=RULES))
    port = public.port if host == "ok.test" else other.port
    assert _refused(speak.connect(host, port))
    assert other.visits == public.visits == 0
    assert _reached(speak.connect("sub.ok.test", public.port))
    monkeypatch.setattr(policy.Policy, "refusal", lambda *_: None)
    monkeypatch.setattr(policy.Policy, "refusal_unresolved", lambda *_: None)
    assert _reached(speak.connect(host, port))


def test_a_suffix_needs_its_dot(served: InProcess, other: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """`evilok.test` is not below `ok.test`; a comparison without the dot would take it for that."""
    speak = Speak(Sandbox.create(**served.options, network=RULES))
    assert _refused(speak.connect("evilok.test", other.port))
    monkeypatch.setattr(NamePattern, "matches", lambda pattern, name: name.endswith(pattern.name))
    assert _reached(speak.connect("evilok.test", other.port))


@pytest.mark.parametrize("separator", ["\0", "@", "#", "%00", "?", "/", "\\", "\n", "\x7f", "\xa0"])
def test_names_that_are_read_in_two_ways_are_refused(
    separator: str, serving: Serving, names: Names, other: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that ends as a rule allows, and that a resolver might cut short, is refused; else it would lead astray."""

    def careless(name: str) -> list[Address]:
        return names.look_up(name.partition(separator)[0])

    cheating = Gateway(guard=Guard((ipaddress.ip_network("127.0.1.0/24"),)), look_up=careless)
    speak = Speak(Sandbox.create(**serving(cheating).options, network=RULES))
    host = f"other.test{separator}.ok.test"
    assert _refused(speak.connect(host, other.port))
    assert other.visits == 0
    monkeypatch.setattr(destination, "_AUTHORITY", re.compile(r"(.*):(\d+)", re.DOTALL))
    monkeypatch.setattr(destination, "parse_name", lambda text: text.lower())
    assert _reached(speak.connect(host, other.port))


@pytest.mark.parametrize(
    "target", ["ok.com@evil", "ok.com\0.evil", "user:password@ok.com", "ok.com,evil.com", "ok com"]
)
def test_what_is_no_host_is_refused(target: str, speak: Speak, names: Names) -> None:
    """What is no host at all is refused, and nobody is asked about it."""
    answer = speak.connect(target, 443)
    assert answer.startswith(b"HTTP/1.1 400 ") if " " in target else _refused(answer)
    assert names.asked == []


def test_the_address_that_was_judged_is_dialled(
    serving: Serving, names: Names, public: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that changes its address between the check and the dial gains nothing; dialled by name, it would."""
    with closing(Listener(FORBIDDEN, public.port)) as inside:
        turns = iter([PUBLIC, FORBIDDEN] * 2)

        def rebinding(_: str) -> list[Address]:
            return [ipaddress.ip_address(next(turns))]

        guarded = Gateway(guard=Guard((ipaddress.ip_network("127.0.1.0/24"),)), look_up=rebinding)
        speak = Speak(Sandbox.create(**serving(guarded).options))
        assert _reached(speak.connect("rebinding.test", public.port))
        assert (public.visits, inside.visits) == (1, 0)
        assert _refused(speak.connect("rebinding.test", public.port))

        dial = gateway._dial

        async def dial_by_name(route: Route, _: str | Address) -> socket.socket:
            return await dial(route, rebinding("")[0])

        monkeypatch.setattr(gateway, "_dial", dial_by_name)
        assert _reached(speak.connect("rebinding.test", public.port))
        assert inside.visits == 1


def test_a_denied_name_is_not_looked_up(served: InProcess, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all is denied no name leaves the machine, which would carry out what it spells; but for that it would."""
    speak = Speak(Sandbox.create(**served.options, allow_internet_access=False))
    assert _refused(speak.connect("the-secret.evil.test", 443))
    assert names.asked == []
    monkeypatch.setattr(policy.Policy, "refusal_unresolved", lambda *_: None)
    speak.connect("the-secret.evil.test", 443)
    assert names.asked == ["the-secret.evil.test"]


def test_no_internet_is_none(served: InProcess, public: Listener) -> None:
    """`allow_internet_access=False` refuses all, and the refusal says so."""
    speak = Speak(Sandbox.create(**served.options, allow_internet_access=False))
    answer = speak.connect(PUBLIC, public.port)
    assert _refused(answer)
    assert b"allow_internet_access is false" in answer
    assert public.visits == 0


def test_sandboxes_have_their_own_rules(served: InProcess, public: Listener) -> None:
    """One sandbox's rules say nothing of another's way out."""
    closed, opened = (Speak(Sandbox.create(**served.options, allow_internet_access=value)) for value in (False, True))
    assert _refused(closed.connect(PUBLIC, public.port))
    assert _reached(opened.connect(PUBLIC, public.port))


def test_there_is_no_other_way(sandbox: Sandbox, public: Listener) -> None:
    """Without the proxy nothing is reached: no address, no resolver."""
    probe = f"exec 3<>/dev/tcp/{PUBLIC}/{public.port}"
    assert "refused" in sandbox.commands.run(f"({probe}) 2>&1; true").stdout
    assert sandbox.commands.run("getent hosts example.com || echo none").stdout == "none\n"
    assert public.visits == 0


def test_the_proxys_port_is_taken_before_anything_runs(sandbox: Sandbox, speak: Speak) -> None:
    """No program inside can put itself in the proxy's place, and what it calls its proxy answers."""
    take = "import socket; socket.create_server(('127.0.0.1', 49982))"
    assert "Address already in use" in sandbox.commands.run(f'python3 -c "{take}" 2>&1; true').stdout
    assert sandbox.commands.run("echo $HTTPS_PROXY $https_proxy $NO_PROXY").stdout == (
        "http://127.0.0.1:49982 http://127.0.0.1:49982 localhost,127.0.0.1,::1\n"
    )
    assert speak(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_the_server_itself_is_out_of_reach(served: InProcess, names: Names) -> None:
    """A sandbox reaches neither the server that runs it nor another sandbox's ports, by whatever name of theirs."""
    names.known |= {name: ["127.0.0.1", "::1"] for name in ("localhost", "8000-sandbox.localhost")}
    port = int(served.options["api_url"].rpartition(":")[2])
    speak = Speak(Sandbox.create(**served.options))
    for host in ("127.0.0.1", "localhost", "8000-sandbox.localhost"):
        assert _refused(speak.connect(host, port))
        assert _refused(speak(f"GET http://{host}:{port}/sandboxes HTTP/1.1\r\nHost: x\r\n\r\n".encode()))


def test_the_proxy_is_for_the_sandbox_alone(served: InProcess, sandbox: Sandbox, public: Listener) -> None:
    """Nobody outside gets to use a sandbox's proxy as one of its ports."""
    headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": str(PORT)}
    with served.control() as control:
        answer = control.get("/", headers=headers)
    assert answer.status_code == 502
    assert "port is not open" in answer.json()["message"]


def test_a_variable_of_ones_own_wins(served: InProcess) -> None:
    """Who sets a proxy for a sandbox has that one in it."""
    sandbox = Sandbox.create(**served.options, envs={"HTTPS_PROXY": "http://mine:1"})
    assert sandbox.commands.run("echo $HTTPS_PROXY").stdout == "http://mine:1\n"


def test_plain_requests_are_judged_too(speak: Speak, forbidden: Listener) -> None:
    """A plain HTTP request gets no further than a tunnel would, whatever its Host header says."""
    request = f"GET http://INSIDE.test.:{forbidden.port}/ HTTP/1.1\r\nHost: ok.test\r\n\r\n"
    assert _refused(speak(request.encode()))
    assert forbidden.visits == 0
