"""Where a program reaches a port of a sandbox: on this machine, behind the port's own token, on E2B's cloud."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from e2b import AsyncSandbox, SandboxNetworkOpts

from e2b_magic.config import Configuration
from e2b_magic.embedded import runtime
from e2b_magic.sandboxes import SandboxManager
from e2b_magic.sandboxes.lease import Lease
from e2b_magic.sandboxes.ports import port_address
from e2b_magic.worker.protocol import ignore
from e2b_magic.worker.requests.commands import ExecuteCommand

pytestmark = pytest.mark.sandbox


@pytest.fixture
async def manager(configuration: Configuration) -> AsyncIterator[SandboxManager]:
    """Gives a manager of sandboxes on an embedded server of the test's own."""
    manager = SandboxManager(configuration)
    yield manager
    await manager.close()
    runtime.stop(configuration.directory / "embedded")


async def _lease(manager: SandboxManager) -> Lease:
    return await manager.lease(ExecuteCommand(project_id="default", command="true"), ignore)


async def test_a_look_at_a_port_keeps_its_sandbox(manager: SandboxManager) -> None:
    """To be asked for a port's address is a use: the sandbox's end moves, as with a command."""
    lease = await _lease(manager)
    await lease.sandbox.set_timeout(120)
    lease.expires_at = time.time() + 120
    await port_address(manager, "default", 8000)
    await manager.lifetimes.settled()
    assert (await lease.sandbox.get_info()).end_at.timestamp() > time.time() + 3000


async def test_an_address_opens_a_port_that_is_not_public(manager: SandboxManager) -> None:
    """Where a port takes nobody without the sandbox's token, the token comes with the address."""
    lease = await _lease(manager)
    network: SandboxNetworkOpts = {"allow_public_traffic": False}
    private = await AsyncSandbox.create(network=network, **lease.connection.options())
    lease.sandbox = private
    await private.commands.run("setsid -f python3 -m http.server 8000 >/dev/null 2>&1")
    await private.commands.run("until curl -s localhost:8000 >/dev/null; do sleep 0.05; done")
    address = await port_address(manager, "default", 8000)
    token = str(private.traffic_access_token)
    assert address.headers.get("E2b-Traffic-Access-Token") == token
    assert token not in repr(address)
    async with httpx.AsyncClient(base_url=address.url, trust_env=False) as client:
        assert (await client.get("/", headers=address.headers)).status_code == 200
        others = {name: value for name, value in address.headers.items() if value != token}
        assert (await client.get("/", headers=others)).status_code == 403


async def test_a_port_on_the_cloud_has_a_host_of_its_own(manager: SandboxManager) -> None:
    """Where no URL is known for all sandboxes, the host's name alone leads to the port, over TLS."""
    lease = await _lease(manager)
    lease.connection = replace(lease.connection, sandbox_url=None)
    address = await port_address(manager, "default", 8000)
    assert address.url == f"https://8000-{lease.sandbox_id}.localhost"
    assert not {"E2b-Sandbox-Id", "E2b-Sandbox-Port"} & address.headers.keys()
