"""How a network configuration comes in and is shown: at creation, and by PUT on a live sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from e2b import InvalidArgumentException, Sandbox, SandboxException

from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.egress.addresses import Guard
from e2b_magic.embedded.egress.gateway import Gateway
from e2b_magic.embedded.sandbox.preflight import Report
from tests.embedded.in_process import InProcess

from .conftest import INTERNET, Names

pytestmark = pytest.mark.sandbox


def _rule(headers: dict[str, Any]) -> dict[str, Any]:
    return {"rules": {"ok.test": [{"transform": {"headers": headers}}]}}


def _proxy(**fields: object) -> dict[str, Any]:
    return {"egressProxy": {"address": "ok.test:1080", **fields}}


def _tls(tls: object) -> dict[str, Any]:
    return _proxy(tls=tls)


WRONG = [
    ({"allowOut": ["ok.test"]}, 400, "ALL_TRAFFIC"),
    ({"denyOut": ["ok.test"]}, 400, "names can only be allowed"),
    ({"denyOut": "1.1.1.1"}, 400, "denyOut must be a list"),
    ({"denyOut": ""}, 400, "denyOut must be a list"),
    ({"allowOut": [1]}, 400, "allowOut must be a list"),
    ({"allowOut": ["1.1.1.1:80"]}, 400, "port-specific"),
    ({"rules": ["x"]}, 400, "rules must be an object whose values are lists"),
    ({"rules": {"ok.test": "x"}}, 400, "rules must be an object whose values are lists"),
    ({"rules": {"ok.test": ["x"]}}, 400, "each of the rules must be an object"),
    ({"rules": {"ok.test": [{"transform": "x"}]}}, 400, "must be an object with headers"),
    ({"rules": {"ok.test": [{"transform": {"headers": ["x"]}}]}}, 400, "must be an object with headers"),
    ({"rules": {"ok.test": [{}, {}]}}, 400, "no more than one rule"),
    ({"rules": {f"{number}.test": [] for number in range(11)}}, 400, "up to 10"),
    ({"rules": {"*": []}}, 400, "all names"),
    ({"rules": {"a." * 62 + "test.x": []}}, 400, "longer than 128 characters"),
    ({"rules": {"1.1.1.1": []}}, 400, "no host's name"),
    (_rule({"A b": "c"}), 400, "token"),
    (_rule({"A" * 65: "b"}), 400, "up to 64 characters"),
    (_rule({"A": "b\r\nC: d"}), 400, "header's value"),
    (_rule({"A": 1}), 400, "header's value"),
    (_rule({"A": "b" * 2049}), 400, "up to 2048 characters"),
    (_rule({"Content-Length": "1"}), 400, "about the connection"),
    (_rule({str(number): "" for number in range(21)}), 400, "up to 20"),
    (_rule({"Authorization": "Bearer ${e2b.secrets.key}"}), 501, "secret"),
    (_proxy(username="x" * 256), 400, "255 bytes"),
    (_proxy(username=["x"]), 400, "255 bytes"),
    (_proxy(username="x", password="é" * 128), 400, "password must be a text of up to 255 bytes"),
    (_proxy(password="x"), 400, "needs egressProxy.username"),
    ({"egressProxy": {"address": "127.0.0.1:1080"}}, 400, "no sandbox may reach"),
    ({"egressProxy": {"address": "inside.test:1080"}}, 400, "no sandbox may reach"),
    ({"egressProxy": {"address": "unknown.test:1080"}}, 400, "cannot be resolved"),
    (_tls({}), 400, "enabled is true or false"),
    (_tls(True), 400, "enabled is true or false"),
    (_tls({"enabled": False, "serverName": "ok.test"}), 400, "nothing beside"),
    (_tls({"enabled": True, "serverName": "a b"}), 400, "host's name"),
    (_tls({"enabled": True, "caCert": "x"}), 400, "no certificates"),
    (_tls({"enabled": True, "caCert": "é"}), 400, "no certificates"),
    (_tls({"enabled": True, "caCert": "x" * 8193}), 400, "8192 bytes"),
    (_tls({"enabled": True, "caCert": ""}), 400, "8192 bytes"),
    (_proxy(address="socks5://proxy.test:1080"), 400, "host:port"),
    (_proxy(address="proxy.test"), 400, "host:port"),
    (_proxy(address=1080), 400, "host:port"),
    ({"egressProxy": "proxy.test:1080"}, 400, "must be an object"),
    ({"dnsServers": ["dns.test"]}, 400, "each of dnsServers must be an IPv4 address"),
    ({"dnsServers": [1]}, 400, "each of dnsServers must be an IPv4 address"),
    ({"dnsServers": ["1.1.1.1"] * 11}, 400, "dnsServers must be a list of up to 10"),
    ({"dnsServers": "1.1.1.1"}, 400, "dnsServers must be a list of up to 10"),
]


@pytest.fixture(scope="module")
def refusing(
    prepared: tuple[Launcher, Report], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[InProcess, Sandbox]]:
    """Gives a server for all that is refused, and a sandbox of its: none of it changes either."""
    gateway = Gateway(guard=Guard((INTERNET,)), look_up=Names().look_up)
    served = InProcess(prepared[0], tmp_path_factory.mktemp("refusing"), gateway)
    try:
        yield served, Sandbox.create(**served.options)
    finally:
        served.close()


@pytest.mark.parametrize(("network", "status", "said"), WRONG)
def test_what_cannot_be_kept_is_refused(
    network: dict[str, Any], status: int, said: str, refusing: tuple[InProcess, Sandbox]
) -> None:
    """A rule that is none, or that this server cannot keep, is refused at creation and by a change alike."""
    served, sandbox = refusing
    with served.control() as control:
        created = control.post("/v2/sandboxes", json={"templateID": "base", "network": network})
        changed = control.put(f"/sandboxes/{sandbox.sandbox_id}/network", json=network)
        after = control.get(f"/sandboxes/{sandbox.sandbox_id}").json()
    for answer in (created, changed):
        assert answer.status_code == status
        assert said in answer.json()["message"]
    assert "network" not in after
    assert served.run(_count(served)) == 1


async def _count(served: InProcess) -> int:
    return len(served.sandboxes)


def test_a_change_replaces_the_way_out_alone(served: InProcess) -> None:
    """What concerns the way out is replaced as a whole, what concerns the ports is kept, and the details show both."""
    given = {"deny_out": ["1.1.1.1"], "rules": {"ok.test": []}, "allow_public_traffic": False}
    sandbox = Sandbox.create(**served.options, allow_internet_access=False, network=given)  # type: ignore[arg-type]
    with served.control() as control:
        url = f"/sandboxes/{sandbox.sandbox_id}"
        before = control.get(url).json()
        assert before["allowInternetAccess"] is False
        assert before["network"] == {"denyOut": ["1.1.1.1"], "rules": {"ok.test": []}, "allowPublicTraffic": False}
        sandbox.update_network({"allow_out": ["8.8.8.8"], "allow_internet_access": True})
        after = control.get(url).json()
        assert after["allowInternetAccess"] is True
        assert after["network"] == {"allowOut": ["8.8.8.8"], "allowPublicTraffic": False}
        sandbox.update_network({})
        cleared = control.get(url).json()
        assert cleared["allowInternetAccess"] is None
        assert cleared["network"] == {"allowPublicTraffic": False}


def test_a_refused_change_changes_nothing(served: InProcess, sandbox: Sandbox) -> None:
    """Rules stay in force, and are shown, when others were refused."""
    sandbox.update_network({"deny_out": ["1.1.1.1"]})
    with pytest.raises((InvalidArgumentException, SandboxException)):
        sandbox.update_network({"allow_out": ["ok.test"]})
    with served.control() as control:
        assert control.get(f"/sandboxes/{sandbox.sandbox_id}").json()["network"] == {"denyOut": ["1.1.1.1"]}


def test_no_sandbox_no_change(served: InProcess) -> None:
    """A sandbox that is not there is told of as E2B does, and a body must be an object."""
    with served.control() as control:
        assert control.put("/sandboxes/none/network", json={}).status_code == 404
        assert control.put("/sandboxes/none/network", content=b"[]").status_code == 400
        assert control.put("/sandboxes/none/network", json={"allow_internet_access": 1}).status_code == 404
