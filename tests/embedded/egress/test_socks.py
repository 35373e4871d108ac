"""A SOCKS5 proxy of a sandbox's creator: all that is allowed goes through it, and nothing past it."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import httpx
import pytest
from e2b import Sandbox, SandboxException

from e2b_magic.embedded.egress.addresses import Guard
from e2b_magic.embedded.egress.gateway import Gateway
from tests.embedded.in_process import InProcess

from .conftest import (
    ALL,
    FORBIDDEN,
    OTHER,
    PUBLIC,
    TUNNEL,
    Listener,
    Names,
    Serving,
    SlowNames,
    Socks,
    Speak,
    until,
)

pytestmark = pytest.mark.sandbox


# Holds a tunnel open, and says how it ends.
_HOLD = """
connection = tunnel("ok.test", {port})
try:
    while connection.recv(100):
        pass
    print("ended")
except ConnectionResetError:
    print("cut")
"""


def _proxied(served: InProcess, port: int, host: str = PUBLIC, **network: Any) -> Speak:
    network["egress_proxy"] = {"address": f"{host}:{port}", "username": "me", "password": "canary"}
    options: Any = {**served.options, "network": network}
    return Speak(Sandbox.create(**options))


def test_all_goes_through_it(served: InProcess, socks: Socks, public: Listener) -> None:
    """It is told who asks, and gets the address that was judged; nobody else is dialled."""
    speak = _proxied(served, socks.port)
    assert speak.connect("ok.test", 443).endswith(b"\r\n\r\nby the proxy\n")
    assert speak.connect(PUBLIC, public.port).endswith(b"by the proxy\n")
    packed = socket.inet_aton(PUBLIC)
    assert socks.asked == [(1, packed, 443), (1, packed, public.port)]
    assert socks.told == [(b"me", b"canary")] * 2
    assert public.visits == 0


def test_a_name_that_is_allowed_is_its_to_resolve(served: InProcess, socks: Socks, names: Any) -> None:
    """A name that `allow_out` names is not looked up here; what is not allowed does not get as far as the proxy."""
    speak = _proxied(served, socks.port, allow_out=["*.far.test"], deny_out=["0.0.0.0/0"])
    assert speak.connect("a.far.test", 443).endswith(b"by the proxy\n")
    assert socks.asked == [(3, b"a.far.test", 443)]
    assert speak.connect("ok.test", 443).startswith(b"HTTP/1.1 403 ")
    assert speak.connect(OTHER, 443).startswith(b"HTTP/1.1 403 ")
    assert len(socks.asked) == 1
    assert names.asked == []


def test_what_no_sandbox_may_reach_is_refused_before_it(served: InProcess, socks: Socks) -> None:
    """An address that is forbidden here is not asked for there either."""
    speak = _proxied(served, socks.port)
    for host in (FORBIDDEN, "inside.test", "169.254.169.254"):
        assert speak.connect(host, 80).startswith(b"HTTP/1.1 403 ")
    assert socks.visits == 0


def test_it_may_not_lie_where_no_sandbox_may_go(serving: Serving, gateway: Gateway, names: Names) -> None:
    """A proxy on this machine, by address or by a name for it, is refused; but for the guard it would be dialled.

    So is one whose name comes to mean this machine when the sandbox runs already, at each connection.
    """
    with closing(Socks(FORBIDDEN)) as inside:
        server = serving(gateway)
        for host in (FORBIDDEN, "inside.test"):
            with pytest.raises(SandboxException, match="no sandbox may reach"):
                _proxied(server, inside.port, host)
        speak = _proxied(server, inside.port, "ok.test")
        names.known["ok.test"] = [FORBIDDEN]
        assert speak.connect("other.test", 443).startswith(b"HTTP/1.1 403 ")
        with pytest.raises(SandboxException, match="no sandbox may reach"):
            speak.sandbox.update_network({"egress_proxy": {"address": f"ok.test:{inside.port}"}})
        assert inside.visits == 0
        unguarded = serving(replace(gateway, guard=Guard(ALL)))
        assert _proxied(unguarded, inside.port).sandbox.kill()
        assert _proxied(unguarded, inside.port, FORBIDDEN).connect("ok.test", 443).endswith(b"by the proxy\n")


def test_nothing_goes_past_it(served: InProcess, socks: Socks, public: Listener) -> None:
    """A proxy that refuses, speaks something else or is not there is a failure, and no way around is taken."""
    speak = _proxied(served, socks.port)
    socks.reply = 2
    assert b"its own rules forbid it" in speak.connect("ok.test", public.port)
    wrong: Any = {"address": f"{PUBLIC}:{socks.port}", "username": "me", "password": "wrong"}
    speak.sandbox.update_network({"egress_proxy": wrong})
    assert b"refuses its username or password" in speak.connect("ok.test", public.port)
    speak.sandbox.update_network({"egress_proxy": {"address": f"{PUBLIC}:{public.port}"}})
    assert b"does not speak SOCKS5" in speak.connect("ok.test", public.port)
    speak.sandbox.update_network({"egress_proxy": {"address": f"{PUBLIC}:9"}})
    assert speak.connect("ok.test", public.port).startswith(b"HTTP/1.1 502 ")
    before = public.visits
    speak.sandbox.update_network({})
    assert b"hello" in speak.connect("ok.test", public.port)
    assert public.visits == before + 1


def test_its_password_is_told_by_nobody(served: InProcess, socks: Socks) -> None:
    """The details of a sandbox show its proxy, and not the password, which is in no repr and not inside either."""
    sandbox = _proxied(served, socks.port).sandbox
    with served.control() as control:
        told: httpx.Response = control.get(f"/sandboxes/{sandbox.sandbox_id}")
    assert told.json()["network"]["egressProxy"] == {"address": f"{PUBLIC}:{socks.port}", "username": "me"}
    record = served.sandboxes.record(sandbox.sandbox_id)
    assert record is not None
    assert "canary" not in repr(record.creation)
    assert "canary" not in sandbox.commands.run("cat /proc/*/environ | tr '\\0' '\\n'; true").stdout


def _held(sandbox: Sandbox, port: int) -> Any:
    sandbox.files.write("/tmp/hold.py", TUNNEL + _HOLD.format(port=port))
    return sandbox.commands.run("python3 -u /tmp/hold.py", background=True, timeout=60)


def test_what_passes_beside_it_is_cut(served: InProcess, socks: Socks, public: Listener) -> None:
    """A tunnel ends when a proxy is set that it does not go through, or its own is not meant any more."""
    sandbox = Sandbox.create(**served.options)
    direct = _held(sandbox, public.port)
    until(lambda: public.visits == 1)
    own: Any = {"address": f"{PUBLIC}:{socks.port}"}
    sandbox.update_network({"egress_proxy": own})
    assert direct.wait().stdout == "cut\n"
    socks.echoes = True  # and so waits for what it is told
    kept = _held(sandbox, public.port)
    until(lambda: len(socks.asked) == 1)
    sandbox.update_network({"egress_proxy": own, "deny_out": [OTHER]})
    assert sandbox.commands.run("pgrep -f hold.py", timeout=20).exit_code == 0
    sandbox.update_network({"deny_out": [OTHER]})
    assert kept.wait().stdout == "cut\n"
    assert public.visits == 1


def test_what_is_looked_up_when_it_is_set_does_not_pass_beside_it(
    slow: tuple[InProcess, SlowNames], socks: Socks, public: Listener
) -> None:
    """A request whose name is still looked up when a proxy is set is refused, and its host not dialled."""
    served, names = slow
    speak = Speak(Sandbox.create(**served.options))
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(speak.connect, "slow.test", public.port)
        assert names.asked.wait(20)
        speak.sandbox.update_network({"egress_proxy": {"address": f"{PUBLIC}:{socks.port}"}})
        names.release.set()
        assert asking.result(30).startswith(b"HTTP/1.1 403 ")
    assert public.visits == 0
