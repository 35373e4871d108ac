"""Paused sandboxes through the SDK: what stands still, what is kept, what wakes them, and what a restart leaves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from e2b import AsyncSandbox, Sandbox, SandboxNotFoundException, SandboxQuery, SandboxState
from e2b.exceptions import SandboxException

from e2b_magic.embedded import runtime
from e2b_magic.embedded.endpoint import Endpoint
from e2b_magic.embedded.server.record import FILE

OptionsFor = Callable[[Endpoint], dict[str, Any]]

pytestmark = pytest.mark.sandbox


def _boot_id(sandbox: Sandbox) -> str:
    return sandbox.files.read("/proc/sys/kernel/random/boot_id")


def _eventually(holds: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_paused_sandbox_goes_on_where_it_was(own_sandbox: Sandbox, options: dict[str, Any]) -> None:
    """Processes, memory and files are there after a pause, under the same tokens; while it lasts there is no answer."""
    boot = _boot_id(own_sandbox)
    counting = own_sandbox.commands.run(
        "i=0; while true; do i=$((i+1)); echo $i >/tmp/count; sleep 0.05; done", background=True, timeout=0
    )
    assert _eventually(lambda: own_sandbox.files.exists("/tmp/count"))
    assert own_sandbox.pause()
    assert not own_sandbox.is_running()
    assert not own_sandbox.pause()
    info = own_sandbox.get_info()
    assert info.state == SandboxState.PAUSED
    same = Sandbox.connect(own_sandbox.sandbox_id, **options)
    assert same.get_info().state == SandboxState.RUNNING
    assert same.get_info().started_at > info.started_at
    assert counting.pid in [process.pid for process in own_sandbox.commands.list()]
    assert _boot_id(own_sandbox) == boot
    before = int(own_sandbox.files.read("/tmp/count"))
    assert _eventually(lambda: int(own_sandbox.files.read("/tmp/count") or 0) > before)


def test_a_pause_with_files_alone_starts_anew(own_sandbox: Sandbox) -> None:
    """Without memory the files are kept and the processes are not; variables and tokens are the same."""
    own_sandbox.commands.run("sleep 1000", background=True, timeout=0).disconnect()
    own_sandbox.files.write("note", "kept")
    boot = _boot_id(own_sandbox)
    assert own_sandbox.pause(mode="filesystem")
    own_sandbox.connect()
    assert own_sandbox.files.read("note") == "kept"
    assert own_sandbox.commands.list() == []
    assert _boot_id(own_sandbox) != boot


def test_a_client_may_ask_for_a_new_start(own_sandbox: Sandbox) -> None:
    """Resumed as by a reboot, a sandbox that was paused with its processes has its files alone."""
    own_sandbox.commands.run("sleep 1000", background=True, timeout=0).disconnect()
    own_sandbox.pause()
    own_sandbox.connect(on_resume="reboot")
    assert own_sandbox.commands.list() == []
    assert own_sandbox.is_running()


def test_variables_outlive_a_new_start(options: dict[str, Any]) -> None:
    """What a sandbox was created with, its processes find after a pause with files alone, too."""
    with Sandbox.create(**options, envs={"OWN": "value"}) as sandbox:
        sandbox.pause(mode="filesystem")
        sandbox.connect()
        assert sandbox.commands.run("echo $OWN $E2B_SANDBOX_ID").stdout == f"value {sandbox.sandbox_id}\n"


def test_a_paused_sandbox_uses_no_processor(own_sandbox: Sandbox, server: Endpoint) -> None:
    """What spins inside is on no processor while the sandbox is paused."""
    own_sandbox.commands.run("exec -a spinner bash -c 'while true; do :; done'", background=True, timeout=0)

    def spinners() -> list[psutil.Process]:
        children = psutil.Process(server.pid).children(recursive=True)
        return [child for child in children if "spinner" in child.cmdline()]

    assert _eventually(lambda: len(spinners()) == 1)
    own_sandbox.pause()
    (spinner,) = spinners()
    before = spinner.cpu_times()
    time.sleep(0.5)
    assert spinner.cpu_times() == before
    own_sandbox.kill()
    assert _eventually(lambda: spinners() == [])


def test_a_paused_sandbox_is_listed_and_killed(options: dict[str, Any]) -> None:
    """Lists show it by its state; killed it is gone, and its timeout cannot be set."""
    mark = {"test": "paused-list"}
    sandbox = Sandbox.create(**options, metadata=mark)
    sandbox.pause()

    def listed(*states: SandboxState) -> list[str]:
        query = SandboxQuery(metadata=mark, state=list(states) or None)
        return [one.sandbox_id for one in Sandbox.list(query, **options).next_items()]

    assert listed() == listed(SandboxState.PAUSED) == [sandbox.sandbox_id]
    assert listed(SandboxState.RUNNING) == []
    with pytest.raises(SandboxNotFoundException):
        sandbox.set_timeout(10)
    assert sandbox.kill()
    assert not sandbox.kill()
    assert listed() == []
    with pytest.raises(SandboxNotFoundException):
        Sandbox.connect(sandbox.sandbox_id, **options)


def test_time_pauses_a_sandbox_that_wants_it(options: dict[str, Any]) -> None:
    """When its time is over a sandbox with `on_timeout: pause` is paused, and connecting resumes it."""
    sandbox = Sandbox.create(**options, timeout=1, lifecycle={"on_timeout": "pause"})
    assert sandbox.get_info().lifecycle == {"on_timeout": "pause", "auto_resume": False}
    assert _eventually(lambda: sandbox.get_info().state == SandboxState.PAUSED)
    assert not sandbox.is_running()
    with pytest.raises(SandboxException):
        sandbox.commands.run("true")
    sandbox.connect(timeout=60)
    assert sandbox.commands.run("echo on").stdout == "on\n"
    sandbox.kill()


def test_traffic_wakes_a_sandbox_that_wants_it(options: dict[str, Any]) -> None:
    """Any request to a paused sandbox with `auto_resume` lets it go on, with its processes; also several at once."""
    lifecycle: Any = {"on_timeout": "pause", "auto_resume": True}
    sandbox = Sandbox.create(**options, timeout=60, lifecycle=lifecycle)
    sandbox.commands.run("sleep 1000", background=True, timeout=0).disconnect()
    sandbox.pause()
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: sandbox.commands.run("echo awake").stdout, range(4)))
    assert told == ["awake\n"] * 4
    assert len(sandbox.commands.list()) == 1
    # Of its files alone nothing but its owner starts it anew.
    sandbox.pause(mode="filesystem")
    assert not sandbox.is_running()
    assert sandbox.get_info().state == SandboxState.PAUSED
    sandbox.kill()


def test_a_browser_wakes_a_sandbox_that_wants_it(options: dict[str, Any], server: Endpoint) -> None:
    """A request to a port of a sandbox whose time is over is answered by the very server that ran there before."""
    lifecycle: Any = {"on_timeout": "pause", "auto_resume": True}
    sandbox = Sandbox.create(**options, timeout=2, lifecycle=lifecycle)
    sandbox.files.write("/tmp/served/index.html", "served")
    serving = sandbox.commands.run("cd /tmp/served && exec python3 -m http.server 8000", background=True, timeout=0)
    assert _eventually(lambda: sandbox.get_info().state == SandboxState.PAUSED)
    host = f"8000-{sandbox.sandbox_id}.localhost:{server.port}"
    assert httpx.get(server.url, headers={"Host": host}, trust_env=False, timeout=30).text == "served"
    assert serving.pid in [process.pid for process in sandbox.commands.list()]
    sandbox.kill()


def test_a_pause_does_not_count_against_a_command(own_sandbox: Sandbox) -> None:
    """A command's timeout stands still while its sandbox is paused."""
    command = own_sandbox.commands.run(
        "for _ in $(seq 20); do sleep 0.1; done; echo done >/tmp/done", background=True, timeout=4
    )
    own_sandbox.pause()
    time.sleep(4.5)
    own_sandbox.connect()
    assert command.pid in [process.pid for process in own_sandbox.commands.list()]
    assert _eventually(lambda: own_sandbox.files.exists("/tmp/done"))


@pytest.mark.parametrize("body", [{"memory": "no"}, {"requireHealthyGuest": 1}])
def test_a_wrong_pause_is_refused(control: httpx.Client, own_sandbox: Sandbox, body: dict[str, Any]) -> None:
    """What is no truth value is named, and the sandbox runs on."""
    answer = control.post(f"/sandboxes/{own_sandbox.sandbox_id}/pause", json=body)
    assert answer.status_code == 400
    assert next(iter(body)) in answer.json()["message"]
    assert own_sandbox.is_running()


def test_each_route_has_its_status(control: httpx.Client, own_sandbox: Sandbox) -> None:
    """Statuses tell who was first: 204 and 409 for pauses, 201 and 409 or 200 for resuming ones."""
    path = f"/sandboxes/{own_sandbox.sandbox_id}"
    assert control.post(f"{path}/resume", json={}).status_code == 409
    assert control.post(f"{path}/pause").status_code == 204
    assert control.post(f"{path}/pause", json={}).status_code == 409
    assert control.post(f"{path}/fork", json={}).status_code == 409
    assert control.post(f"{path}/resume", json={"timeout": 100}).status_code == 201
    assert control.post(f"{path}/pause", json={"requireHealthyGuest": True}).status_code == 204
    assert control.post(f"/v2{path}/connect", json={"timeout": 100}).status_code == 201
    assert control.post(f"{path}/connect", json={"timeout": 100}).status_code == 200
    assert control.get(path).json()["pauseMode"] == "full"


async def test_all_at_once(options: dict[str, Any]) -> None:
    """Pauses, connects and commands at the same moment end in one state or the other, and nothing hangs."""
    sandbox = await AsyncSandbox.create(**options)
    for _ in range(3):
        work = [sandbox.pause() for _ in range(3)] + [sandbox.connect() for _ in range(3)]
        outcomes = await asyncio.wait_for(asyncio.gather(*work, return_exceptions=True), 60)
        assert not [one for one in outcomes if isinstance(one, BaseException)]
        await sandbox.connect()
        assert (await sandbox.commands.run("echo ok")).stdout == "ok\n"
    await asyncio.gather(sandbox.pause(), sandbox.kill(), return_exceptions=True)
    assert not await sandbox.kill() or not await sandbox.is_running()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Gives the directory of a server of the test's own, which is stopped afterwards."""
    yield tmp_path / "embedded"
    runtime.stop(tmp_path / "embedded")


def _kill(endpoint: Endpoint, directory: Path) -> None:
    server = psutil.Process(endpoint.pid)
    children = server.children(recursive=True)
    os.kill(endpoint.pid, signal.SIGKILL)
    assert psutil.wait_procs([*children], timeout=10)[1] == []


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_a_paused_sandbox_survives_the_server(directory: Path, options_for: OptionsFor, *, killed: bool) -> None:
    """After a stop or a kill -9 the next server has the paused sandbox's files, variables and tokens."""
    first = runtime.ensure(directory)
    options = options_for(first)
    kept = Sandbox.create(**options, envs={"OWN": "canary-value"}, metadata={"a": "b"}, timeout=100)
    lost = Sandbox.create(**options)
    kept.files.write("note", "kept")
    kept.commands.run("sleep 1000", background=True, timeout=0).disconnect()
    boot = _boot_id(kept)
    kept.pause()
    record = directory / "sandboxes" / kept.sandbox_id / FILE
    assert record.stat().st_mode & 0o777 == 0o600
    if killed:
        _kill(first, directory)
    else:
        assert runtime.stop(directory)
    options = options_for(runtime.ensure(directory))
    (info,) = Sandbox.list(**options).next_items()
    assert (info.sandbox_id, info.state, info.metadata) == (kept.sandbox_id, SandboxState.PAUSED, {"a": "b"})
    with pytest.raises(SandboxNotFoundException):
        Sandbox.connect(lost.sandbox_id, **options)
    resumed = Sandbox.connect(kept.sandbox_id, **options)
    assert resumed._envd_access_token == kept._envd_access_token
    assert resumed.files.read("note") == "kept"
    assert resumed.commands.run("echo $OWN").stdout == "canary-value\n"
    assert resumed.commands.list() == []
    assert _boot_id(resumed) != boot
    assert not record.exists()
    assert resumed.kill()
    assert _eventually(lambda: not record.parent.exists())
    assert "canary-value" not in (directory / runtime.LOG_FILE).read_text()


def test_what_a_killed_server_ran_is_told_to_be_lost(directory: Path, options_for: OptionsFor) -> None:
    """The next server's 404 for such a sandbox says what became of it."""
    first = runtime.ensure(directory)
    sandbox = Sandbox.create(**options_for(first))
    _kill(first, directory)
    second = runtime.ensure(directory)
    answer = httpx.get(
        f"{second.url}/sandboxes/{sandbox.sandbox_id}", headers={"X-API-Key": second.api_key}, trust_env=False
    )
    assert answer.status_code == 404
    assert "files are lost" in answer.json()["message"]


DAMAGED = (b"", b"{", b"[]", b'{"version": 1}', b'{"version": 99}', b"\xff", b"[" * 100_000)


def test_damaged_files_cost_their_sandboxes_only(directory: Path, options_for: OptionsFor) -> None:
    """Paused sandboxes whose files cannot be understood are set aside with their homes; another is there as ever."""
    options = options_for(runtime.ensure(directory))
    whole, *others = [Sandbox.create(**options) for _ in range(1 + len(DAMAGED))]
    for sandbox in (whole, *others):
        sandbox.files.write("note", sandbox.sandbox_id)
        sandbox.pause()
    runtime.stop(directory)
    for sandbox, damage in zip(others, DAMAGED, strict=True):
        (directory / "sandboxes" / sandbox.sandbox_id / FILE).write_bytes(damage)
    options = options_for(runtime.ensure(directory))
    assert [info.sandbox_id for info in Sandbox.list(**options).next_items()] == [whole.sandbox_id]
    told = (directory / runtime.LOG_FILE).read_text()
    for sandbox, damage in zip(others, DAMAGED, strict=True):
        aside = directory / "sandboxes" / f"damaged-{sandbox.sandbox_id}"
        assert (aside / "home" / "note").read_text() == sandbox.sandbox_id, damage[:20]
        assert aside.name in told
    Sandbox.connect(whole.sandbox_id, **options).kill()


def test_a_pause_that_cannot_be_kept_does_not_happen(directory: Path, options_for: OptionsFor) -> None:
    """Where the file that keeps it cannot be written a sandbox runs on, with its processes."""
    sandbox = Sandbox.create(**options_for(runtime.ensure(directory)))
    in_the_way = directory / "sandboxes" / sandbox.sandbox_id / f"{FILE}.new"
    in_the_way.mkdir()
    with pytest.raises(SandboxException, match="runs on"):
        sandbox.pause()
    in_the_way.rmdir()
    assert sandbox.commands.run("echo on").stdout == "on\n"
    sandbox.kill()


def test_frozen_sandboxes_keep_the_server(directory: Path, options_for: OptionsFor) -> None:
    """As long as processes stand still in it an idle server lives on; with files alone it ends, and they stay."""
    endpoint = runtime.ensure(directory, idle_timeout=0.3)
    sandbox = Sandbox.create(**options_for(endpoint))
    sandbox.pause()
    time.sleep(1.0)
    assert endpoint.alive
    sandbox.connect()
    sandbox.pause(mode="filesystem")
    assert _eventually(lambda: not endpoint.alive)
    kept = json.loads((directory / "sandboxes" / sandbox.sandbox_id / FILE).read_text())
    assert kept["creation"]["template"] == "base"
