"""Sandboxes that were started ahead: seen by nobody, handed out as new, and gone with the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from e2b import Sandbox, SandboxQuery

from e2b_magic.embedded import runtime
from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.endpoint import Endpoint
from e2b_magic.embedded.sandbox.preflight import Report
from e2b_magic.embedded.server.pool import Pool
from e2b_magic.exceptions import ContainmentError, EmbeddedServerError

pytestmark = pytest.mark.sandbox

Pools = Callable[..., Pool]


@pytest.fixture
async def pools(launcher: Launcher, tmp_path: Path) -> AsyncIterator[Pools]:
    """Gives a function that makes pools, which are closed with the test."""
    made: list[Pool] = []

    def make(size: int, by: Launcher = launcher) -> Pool:
        made.append(Pool(tmp_path / "states", by, Limits(), size))
        return made[-1]

    yield make
    for pool in made:
        await pool.close()


async def _ready(directory: Path, count: int) -> bool:
    """Whether so many sandboxes have their files there, waited for a while."""
    for _ in range(400):
        if len(await asyncio.to_thread(lambda: list(directory.glob("*")))) == count:
            return True
        await asyncio.sleep(0.02)
    return False


async def test_one_that_stands_ready_is_given_and_replaced(pools: Pools, tmp_path: Path, run: Any) -> None:
    """Who asks gets the sandbox that was there, with the variables that he gives, and another is started."""
    pool = pools(1)
    pool.fill()
    assert await _ready(tmp_path / "states", 1)
    (ahead,) = [path.name for path in (tmp_path / "states").iterdir()]
    sandbox = await pool.new(lambda sandbox_id: {"WHO": sandbox_id})
    assert sandbox.sandbox_id == ahead
    assert (await run(sandbox, "echo $WHO")).out == f"{ahead}\n"
    assert await _ready(tmp_path / "states", 2)
    await sandbox.kill()


async def test_the_first_moments_are_the_creators_own(
    pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a creation nothing is started for a while, unless another one follows within it."""
    monkeypatch.setattr("e2b_magic.embedded.server.pool.REST", 60)
    monkeypatch.setattr("e2b_magic.embedded.server.pool.QUICK", 60)
    pool = pools(1)
    pool.fill()
    assert await _ready(tmp_path / "states", 1)
    first = await pool.new(lambda _: {})
    await asyncio.sleep(0.1)
    assert len(pool._ahead) == 0
    second = await pool.new(lambda _: {})
    assert await _ready(tmp_path / "states", 3)
    await asyncio.gather(first.kill(), second.kill())


async def test_one_that_died_is_not_given(pools: Pools, tmp_path: Path, run: Any) -> None:
    """A sandbox that ended while it stood ready is removed, and who asks gets one that lives."""
    pool = pools(1)
    pool.fill()
    assert await _ready(tmp_path / "states", 1)
    dead = await pool._ahead[0]
    await dead.kill()
    assert await _ready(tmp_path / "states", 0)
    sandbox = await pool.new(lambda _: {})
    assert sandbox.sandbox_id != dead.sandbox_id
    assert (await run(sandbox, "echo on")).out == "on\n"
    await sandbox.kill()


async def test_many_at_once_each_get_their_own(pools: Pools, tmp_path: Path) -> None:
    """More than stand ready are started as they are asked for."""
    pool = pools(2)
    pool.fill()
    sandboxes = await asyncio.gather(*[pool.new(lambda _: {}) for _ in range(6)])
    assert len({sandbox.sandbox_id for sandbox in sandboxes}) == 6
    await asyncio.gather(*[sandbox.kill() for sandbox in sandboxes])


async def test_what_cannot_be_started_is_said_to_who_asks(pools: Pools, tmp_path: Path, report: Report) -> None:
    """A pool that cannot be filled keeps quiet; who asks is told why, and nothing is left."""
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No way' >&2; exit 1\n")
    broken.chmod(0o755)
    launcher = Launcher(broken, overlay=report.overlay)
    pool = pools(1, launcher)
    pool.fill()
    with pytest.raises(ContainmentError, match="No way"):
        await pool.new(lambda _: {})
    await pool.close()
    assert list((tmp_path / "states").iterdir()) == []
    launcher.close()


async def test_who_leaves_while_one_starts_leaves_nothing(pools: Pools, tmp_path: Path) -> None:
    """A request that is cancelled in the middle of a start costs no sandbox that nobody has."""
    pool = pools(1)
    asking = asyncio.create_task(pool.new(lambda _: {}))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await pool.close()
    assert not (tmp_path / "states").exists() or list((tmp_path / "states").iterdir()) == []


async def test_closed_in_the_middle_it_leaves_nothing(pools: Pools, tmp_path: Path) -> None:
    """A pool that is closed while it starts sandboxes ends them all, their processes and their files."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    pool = pools(3)
    pool.fill()
    await asyncio.sleep(0.01)
    await pool.close()
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
    assert list((tmp_path / "states").iterdir()) == []


@pytest.fixture
def server_with(tmp_path: Path) -> Iterator[Callable[..., Endpoint]]:
    """Gives a function that starts a server with settings; it is stopped afterwards."""

    def start(idle_timeout: float = 900, **settings: str) -> Endpoint:
        return runtime.ensure(tmp_path / "embedded", idle_timeout=idle_timeout, settings=settings)

    yield start
    runtime.stop(tmp_path / "embedded")


def _eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_nobody_sees_those_that_stand_ready(
    server_with: Callable[..., Endpoint], options_for: Callable[[Endpoint], dict[str, Any]], tmp_path: Path
) -> None:
    """They are in no list and no count; with the server's end they are gone."""
    endpoint = server_with(E2B_MAGIC_POOL="2")
    states = tmp_path / "embedded" / "sandboxes"
    assert _eventually(lambda: len(list(states.iterdir())) == 2)
    assert Sandbox.list(query=SandboxQuery(), **options_for(endpoint)).next_items() == []
    assert runtime.status(tmp_path / "embedded") == runtime.Status(endpoint.url, endpoint.pid, endpoint.version, 0)
    assert _eventually(lambda: len(psutil.Process(endpoint.pid).children(recursive=True)) == 4)
    children = psutil.Process(endpoint.pid).children(recursive=True)
    runtime.stop(tmp_path / "embedded")
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert list(states.iterdir()) == []


def test_those_that_stand_ready_keep_no_server_alive(server_with: Callable[..., Endpoint]) -> None:
    """A server that nobody needs ends, whatever it has started ahead."""
    endpoint = server_with(idle_timeout=0.5)
    assert _eventually(lambda: not endpoint.alive)


def test_limits_hold_for_those_too(
    server_with: Callable[..., Endpoint], options_for: Callable[[Endpoint], dict[str, Any]]
) -> None:
    """Settings in the server's environment bound its sandboxes, and the SDK is told of them."""
    endpoint = server_with(E2B_MAGIC_MEMORY="128M", E2B_MAGIC_OPEN_FILES="99", E2B_MAGIC_CPUS="none")
    with Sandbox.create(**options_for(endpoint)) as sandbox:
        assert sandbox.get_info().memory_mb == 128
        assert sandbox.commands.run("ulimit -n").stdout == "99\n"


def test_a_setting_that_makes_no_sense_starts_no_server(server_with: Callable[..., Endpoint]) -> None:
    """A server is not started with a limit that nobody can mean: the variable is named, and what would be right."""
    with pytest.raises(
        EmbeddedServerError, match=r"E2B_MAGIC_MEMORY must be a size such as 512M or 2G, at least 32M, or none"
    ):
        server_with(E2B_MAGIC_MEMORY="plenty")
