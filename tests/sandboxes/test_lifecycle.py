"""One sandbox a project, on a real embedded server: found, reused, made again, counted at the server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.config import Configuration
from e2b_magic.embedded import runtime
from e2b_magic.exceptions import InvalidRequestError, SandboxGoneError
from e2b_magic.sandboxes import SandboxManager, manager
from e2b_magic.worker.protocol import Event, Output, Progress, ignore
from e2b_magic.worker.requests.commands import ExecuteCommand

pytestmark = pytest.mark.sandbox


@pytest.fixture
def client(configuration: Configuration) -> Iterator[Client]:
    """Gives a client on an embedded server of the test's own, which is stopped afterwards."""
    client = Client(configuration)
    yield client
    client.close()
    runtime.stop(configuration.directory / "embedded")


def _listed(configuration: Configuration) -> list[dict[str, Any]]:
    """Gives what the server itself lists."""
    import json
    import urllib.request

    endpoint = runtime.ensure(configuration.directory / "embedded")
    request = urllib.request.Request(f"{endpoint.url}/v2/sandboxes", headers={"X-API-Key": endpoint.api_key})
    with urllib.request.urlopen(request) as answer:
        listed: list[dict[str, Any]] = json.load(answer)
    return listed


def _count(configuration: Configuration) -> int:
    return len(_listed(configuration))


def test_a_sandbox_serves_its_project_again(client: Client, configuration: Configuration) -> None:
    """The second command of a project runs where the first did; another project has another sandbox."""
    first = client.execute_command("echo here > mark")
    second = client.execute_command("cat mark")
    other = client.execute_command("ls", project="other")
    assert (second.stdout, second.sandbox_id) == ("here\n", first.sandbox_id)
    assert other.sandbox_id != first.sandbox_id
    assert _count(configuration) == 2


def test_a_sandbox_that_is_slow_to_come_is_told_of(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a sandbox for long is told so, before the command's output; not when it is there."""
    monkeypatch.setattr(manager, "SILENT", 0)
    for expected in (["Waiting for the sandbox of project 'default'", "here\n"], ["here\n"]):
        said: list[Event] = []
        client.execute_command("echo here", use_cache=False, on_event=said.append)
        assert [event.text for event in said if isinstance(event, Progress | Output)] == expected


def test_a_hundred_first_calls_make_one_sandbox(client: Client, configuration: Configuration) -> None:
    """A hundred first commands of a project, from the threads of two processes at once, share one sandbox."""
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from e2b_magic import Client\n"
        "client = Client()\n"
        "with ThreadPoolExecutor(50) as pool:\n"
        "    ids = {r.sandbox_id for r in pool.map(lambda n: client.execute_command(f'echo {n}'), range(50))}\n"
        "print(*ids)\n"
    )
    environment = {"E2B_MAGIC_DIRECTORY": str(configuration.directory), "PATH": "/usr/bin:/bin", "HOME": "/tmp"}
    other = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    with ThreadPoolExecutor(50) as pool:
        ids = {one.sandbox_id for one in pool.map(lambda n: client.execute_command(f"echo {n}"), range(50))}
    told, _ = other.communicate(timeout=90)
    assert {*told.split()} | ids == ids
    assert len(ids) == 1
    assert _count(configuration) == 1


def test_a_new_session_finds_the_sandbox_by_its_stored_id(client: Client, configuration: Configuration) -> None:
    """After a kernel's restart the project's files are still there."""
    first = client.execute_command("echo here > mark")
    later = Client(configuration)
    second = later.execute_command("cat mark")
    later.close()
    assert (second.stdout, second.sandbox_id) == ("here\n", first.sandbox_id)


def test_an_orphan_is_adopted(client: Client, configuration: Configuration) -> None:
    """A session that knows no id finds the sandbox that carries its project's metadata."""
    first = client.execute_command("echo here > mark")
    client.store.update_project("default", sandbox_id="", sandbox_expires_at=0.0)
    later = Client(configuration)
    assert later.execute_command("cat mark").sandbox_id == first.sandbox_id
    later.close()
    metadata = _listed(configuration)[0]["metadata"]
    assert metadata["e2b-magic-project"] == "default"
    assert metadata["e2b-magic-user"] == configuration.user


def test_a_lost_sandbox_is_replaced_and_said_so(client: Client, configuration: Configuration) -> None:
    """When the stored sandbox is gone, a new session gets a new one and is told that the files are lost."""
    client.execute_command("echo here > mark")
    sandbox_id = client.get_project_info().sandbox_id
    other = Client(configuration)
    other.kill_sandbox()
    other.store.update_project("default", sandbox_id=sandbox_id)
    said: list[Event] = []
    result = other.execute_command("ls", on_event=said.append)
    other.close()
    assert "mark" not in result.stdout
    assert any(isinstance(event, Progress) and "its files are lost" in event.text for event in said)


def test_a_command_is_never_run_again_by_itself(client: Client, configuration: Configuration) -> None:
    """A sandbox killed under a command gives a typed error with the partial output; the next command goes on."""
    client.execute_command("true")

    def kill(event: Event) -> None:
        if event == Output("stdout", "begun\n"):
            other = Client(configuration)
            other.kill_sandbox()
            other.close()

    began = time.monotonic()
    with pytest.raises(SandboxGoneError) as caught:
        client.execute_command("echo begun; sleep 60", on_event=kill)
    assert time.monotonic() - began < 10
    assert caught.value.result is not None
    assert caught.value.result.stdout == "begun\n"
    assert client.execute_command("echo again").stdout == "again\n"


def test_the_daemons_death_is_survived(client: Client, configuration: Configuration) -> None:
    """After a kill -9 of the server the next command starts another one, and says that the files are lost."""
    import os
    import signal

    client.execute_command("echo here > mark")
    os.kill(runtime.ensure(configuration.directory / "embedded").pid, signal.SIGKILL)
    time.sleep(0.2)
    said: list[Event] = []
    assert "mark" not in client.execute_command("ls", on_event=said.append).stdout
    assert any(isinstance(event, Progress) and "lost" in event.text for event in said)


async def test_time_is_never_shortened(client: Client, configuration: Configuration) -> None:
    """Finding a sandbox and using it move its end outwards only, even when somebody gave it more time than we would."""
    from e2b import Sandbox

    result = client.execute_command("true")
    endpoint = runtime.ensure(configuration.directory / "embedded")
    there: dict[str, Any] = {"api_key": endpoint.api_key, "api_url": endpoint.url, "sandbox_url": endpoint.url}
    Sandbox.set_timeout(result.sandbox_id, 4 * 3600, **there)
    long = Sandbox.get_info(result.sandbox_id, **there).end_at
    manager = SandboxManager(configuration)
    lease = await manager.lease(ExecuteCommand(project_id="default", command="true"), ignore)
    manager.lifetimes.extend(lease)
    await manager.lifetimes.settled()
    assert (lease.sandbox_id, lease.expires_at) == (result.sandbox_id, long.timestamp())
    await manager.close()
    assert Sandbox.get_info(result.sandbox_id, **there).end_at >= long


def test_another_template_is_refused_while_the_sandbox_lives(client: Client) -> None:
    """A project's sandbox is not silently used as if it came from another template."""
    client.execute_command("true")
    with pytest.raises(InvalidRequestError, match="kill it before"):
        client.execute_command("true", template="other")


async def test_two_loops_share_the_client(client: Client) -> None:
    """Several awaited commands run at the same time in one sandbox."""
    results = await asyncio.gather(*(client.aexecute_command(f"sleep 0.3; echo {n}") for n in range(5)))
    assert [result.stdout for result in results] == [f"{n}\n" for n in range(5)]
    assert max(result.started_at for result in results) - min(result.started_at for result in results) < 0.3


def test_a_long_command_keeps_a_short_lived_sandbox_alive(client: Client) -> None:
    """A command that runs longer than its sandbox's timeout ends by itself, and not with the sandbox."""
    client.execute_command("true", use_cache=False)
    client.set_sandbox_timeout(4)
    assert client.execute_command("sleep 7; echo through", use_cache=False).stdout == "through\n"
