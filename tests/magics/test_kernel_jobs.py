"""Background jobs and setups in a real kernel: across its restart, and under its stop button."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

from e2b_magic.embedded import runtime

pytestmark = pytest.mark.sandbox

Kernel = tuple[KernelManager, BlockingKernelClient]
PROMPT_WITHIN = 2.0
"""How soon after the stop button the kernel has to be back, in seconds."""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Gives a real kernel with the magics loaded and a sandbox started."""
    directory = tmp_path_factory.mktemp("kernel") / "e2b-magic"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("E2B_")}
    ours = {"E2B_MAGIC_DIRECTORY": str(directory), "IPYTHONDIR": str(directory.parent / "ipython")}
    start: Any = start_new_kernel
    manager, client = start(kernel_name="python3", env={**kept, **ours, "PYDEVD_DISABLE_FILE_VALIDATION": "1"})
    _execute(client, "%load_ext e2b_magic\nr = %e2b run true")
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    runtime.stop(directory / "embedded")


def _execute(client: BlockingKernelClient, code: str) -> list[dict[str, Any]]:
    """Runs a cell and gives the messages that it published."""
    return list(_published(client, client.execute(code)))


def _published(client: BlockingKernelClient, identity: str) -> Iterator[dict[str, Any]]:
    receive: Any = client.get_iopub_msg
    while True:
        message = receive(timeout=60)
        if message["parent_header"].get("msg_id") != identity:
            continue
        yield message
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return


def _text(messages: list[dict[str, Any]]) -> str:
    return "".join(message["content"]["text"] for message in messages if message["msg_type"] == "stream")


def _value(messages: list[dict[str, Any]]) -> str:
    (value,) = [message["content"]["data"] for message in messages if message["msg_type"] == "execute_result"]
    text: str = value["text/plain"]
    return text


def test_jobs_and_servers_survive_a_restart(kernel: Kernel) -> None:
    """After a restart of the kernel its job still runs, its log goes on, and its server is found and shown."""
    manager, client = kernel
    _execute(client, "%e2b setup page --template static")
    _execute(
        client, "job = %e2b run --bg --quiet echo begun; until [ -e go ]; do sleep 0.05; done; echo over\n%e2b dev"
    )
    restart: Any = manager.restart_kernel
    restart(now=True)
    client.wait_for_ready(timeout=60)
    _execute(client, "%load_ext e2b_magic\n%e2b use page")
    jobs = _value(_execute(client, "%e2b jobs"))
    assert jobs.count("running") == 2
    assert ".localhost:" in _value(_execute(client, "%e2b preview"))
    assert "It works" in _text(_execute(client, "r = %e2b run curl -s localhost:8000; touch go"))
    job = next(line.split()[0] for line in jobs.splitlines() if "begun" in line)
    assert _text(_execute(client, f"ended = %e2b logs -f {job}")) == "begun\nover\n"
    assert _value(_execute(client, "ended.exit_code")) == "0"
    assert " stopped after " in _text(_execute(client, "s = %e2b stop 8000"))


def test_the_stop_button_ends_the_following_alone(kernel: Kernel) -> None:
    """Interrupting `logs -f` is no error and leaves the job; interrupting a wait is one, and leaves it too."""
    manager, client = kernel
    _execute(client, "job = %e2b run --bg --quiet echo begun; sleep 4321")
    identity = client.execute("%e2b logs -f {job.id}")
    published = _published(client, identity)
    messages = [next(published)]
    while "begun" not in _text(messages):
        messages.append(next(published))
    began = time.monotonic()
    manager.interrupt_kernel()
    messages.extend(published)
    assert time.monotonic() - began < PROMPT_WITHIN
    assert not [message for message in messages if message["msg_type"] == "error"]
    assert "the job goes on" in _text(messages)
    assert _value(_execute(client, "from e2b_magic import shared_client\nshared_client().stop_job(job).outcome")) == (
        "'stopped'"
    )


def test_the_stop_button_ends_a_setup(kernel: Kernel) -> None:
    """Interrupting an install ends it in the sandbox, gives the kernel back soon, and says that it may go on."""
    manager, client = kernel
    line = "%e2b setup stopped --template python --install 'echo installing; exec -a lingering sleep 4321'"
    published = _published(client, client.execute(line))
    messages = [next(published)]
    while "installing\n" not in _text(messages):
        messages.append(next(published))
    began = time.monotonic()
    manager.interrupt_kernel()
    messages.extend(published)
    assert time.monotonic() - began < PROMPT_WITHIN
    (error,) = [message["content"] for message in messages if message["msg_type"] == "error"]
    assert error["evalue"] == "the setup was interrupted; done again, it goes on"
    assert len(error["traceback"]) == 1
    search = "r = %e2b run -p stopped --no-cache grep -la '[l]ingering' /proc/[0-9]*/cmdline | wc -l"
    assert _text(_execute(client, search)) == "0\n"
    assert "interrupted" in _value(_execute(client, "%e2b info stopped"))
    assert "is ready in /home/user/stopped" in _text(_execute(client, "%e2b setup stopped --template python"))
