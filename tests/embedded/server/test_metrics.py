"""What sandboxes use, as E2B's SDK is told it: from a control group, and from the list of processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2b import AsyncSandbox, Sandbox
from e2b.exceptions import SandboxNotFoundException

from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.containment.limits import MEBIBYTE, Limits
from e2b_magic.embedded.containment.usage import usages_of
from e2b_magic.embedded.sandbox import sandbox as contained
from e2b_magic.embedded.server import metrics as sampling

pytestmark = pytest.mark.sandbox

BUSY = "python3 -c 'x = bytearray(200 << 20)\nwhile True: pass'"


def test_a_new_sandbox_is_measured_at_once(own_sandbox: Sandbox) -> None:
    """The SDK gets a measurement of a sandbox that has just begun, with all that it is to hold."""
    (first, *_) = own_sandbox.get_metrics()
    assert first.cpu_count >= 1
    assert 0 <= first.cpu_used_pct <= 100
    assert 0 <= first.mem_used < first.mem_total == Limits().memory_bytes
    assert 0 <= first.disk_used < first.disk_total == Limits().disk_bytes
    assert abs((datetime.now(UTC) - first.timestamp).total_seconds()) < 60


def test_what_is_used_is_seen(own_sandbox: Sandbox) -> None:
    """A process that computes and holds memory shows in the next measurements, which come by themselves."""
    own_sandbox.commands.run(BUSY, background=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        last = own_sandbox.get_metrics()[-1]
        if last.mem_used > 200 * MEBIBYTE and last.cpu_used_pct > 5:
            break
        time.sleep(0.5)
    assert last.mem_used > 200 * MEBIBYTE
    assert last.cpu_used_pct > 5


def test_an_interval_is_kept(own_sandbox: Sandbox) -> None:
    """Only what lies from `start` to `end` is told."""
    now = own_sandbox.get_metrics()[-1].timestamp
    assert own_sandbox.get_metrics(start=now - timedelta(minutes=1), end=now)[-1].timestamp == now
    assert own_sandbox.get_metrics(start=now + timedelta(hours=1)) == []
    assert own_sandbox.get_metrics(end=now - timedelta(hours=1)) == []


async def test_the_asynchronous_sdk_is_told_too(options: dict[str, Any]) -> None:
    """The same through `AsyncSandbox`."""
    sandbox = await AsyncSandbox.create(**options)
    try:
        assert (await sandbox.get_metrics())[0].mem_total == Limits().memory_bytes
    finally:
        await sandbox.kill()


def test_a_sandbox_that_is_gone_is_not_found(options: dict[str, Any]) -> None:
    """A killed sandbox has no measurements any more."""
    sandbox = Sandbox.create(**options)
    sandbox.kill()
    with pytest.raises(SandboxNotFoundException):
        sandbox.get_metrics()


def test_several_are_told_of_at_once(control: httpx.Client, own_sandbox: Sandbox) -> None:
    """One request gives the latest measurement of each sandbox that it names and that there is."""
    wanted = f"{own_sandbox.sandbox_id},i{'0' * 20}"
    told = control.get("/sandboxes/metrics", params={"sandbox_ids": wanted}).json()["sandboxes"]
    assert list(told) == [own_sandbox.sandbox_id]
    assert set(told[own_sandbox.sandbox_id]) == {
        *("timestamp", "timestampUnix", "cpuCount", "cpuUsedPct"),
        *("memUsed", "memTotal", "memCache", "diskUsed", "diskTotal"),
    }


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/sandboxes/metrics", "sandbox_ids must name"),
        ("/sandboxes/metrics?sandbox_ids=" + ",".join(["x"] * 101), "sandbox_ids must name"),
        ("/sandboxes/x/metrics?start=yesterday", "start must be seconds"),
        ("/sandboxes/x/metrics?end=-1", "end must be seconds"),
        ("/sandboxes/x/metrics?start=2&end=1", "start must not be after end"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(path: str, what: str, control: httpx.Client) -> None:
    """What cannot be meant is answered with 400 and what would be right."""
    answer = control.get(path)
    assert answer.status_code == 400
    assert what in answer.json()["message"]


async def test_without_a_group_the_processes_are_added_up(
    start: Callable[..., Awaitable[contained.Sandbox]], run: Any, unguarded: Callable[..., Launcher]
) -> None:
    """Processor time and memory of a sandbox without a control group are those of its processes, ended ones too."""
    sandbox = await start(by=unguarded())
    assert sandbox.group is None
    (before,) = sampling._usages([sandbox])
    await run(sandbox, "python3", "-c", "import time\nwhile time.process_time() < 0.5: pass")
    process = await sandbox.spawn(
        argv=["python3", "-c", "x = bytearray(100 << 20); input()"], envs={}, cwd=None, user="user", stdin=True
    )
    await asyncio.sleep(0.5)
    (after,) = sampling._usages([sandbox])
    assert before is not None
    assert after is not None
    assert after.cpu_seconds - before.cpu_seconds >= 0.45
    assert after.memory_bytes - before.memory_bytes > 100 * MEBIBYTE
    await sandbox.kill()
    process.close()
    assert sampling._usages([sandbox]) == [None]


def test_odd_names_and_processes_that_end_do_not_confuse(tmp_path: Path) -> None:
    """A program's name may hold parentheses and spaces, and a process may end while it is looked at."""
    fields = " ".join(["0"] * 7)
    for pid, parent, ticks in ((10, 1, 100), (11, 10, 200), (12, 11, 300), (13, 1, 400)):
        (tmp_path / str(pid)).mkdir()
        stat = f"{pid} (a) b) S {parent} {fields} 0 0 {ticks} 0 0 0 0 0 0 0 0 0 5 0"
        (tmp_path / str(pid) / "stat").write_text(stat)
    (tmp_path / "14").mkdir()
    usages = usages_of([10, 99], tmp_path)
    assert list(usages) == [10]
    assert usages[10].cpu_seconds * 100 == pytest.approx(600, rel=0.01)


async def test_a_look_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """When one look fails, the log says so, and the next one is made all the same."""
    looked = asyncio.Event()
    outcomes = iter([RuntimeError("of the test"), None])

    def sandboxes() -> Iterator[Any]:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        looked.set()
        yield from ()

    class Register:
        def __iter__(self) -> Iterator[Any]:
            return sandboxes()

    monkeypatch.setattr(sampling, "INTERVAL", 0.01)
    running = asyncio.create_task(sampling.Metrics(Register(), Limits()).run())
    await asyncio.wait_for(looked.wait(), 10)
    running.cancel()


def test_a_paused_and_resumed_sandbox_is_measured_on(own_sandbox: Sandbox) -> None:
    """After a pause a sandbox is measured again, within the bounds that hold for every measurement."""
    own_sandbox.commands.run("head -c 1000000 /dev/urandom > kept")
    own_sandbox.pause()
    resumed = own_sandbox.connect()
    last = resumed.get_metrics()[-1]
    assert 0 <= last.cpu_used_pct <= 100
    assert 0 <= last.mem_used < last.mem_total
