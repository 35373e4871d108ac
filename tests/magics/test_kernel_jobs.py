"""Background jobs and setups in a real kernel: across its restart, and under its stop button."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from e2b_magic.embedded import runtime
from tests.magics.kernels import (
    PROMPT_WITHIN,
    Kernel,
    environment_in,
    error_of,
    execute,
    published,
    running_kernel,
    text_of,
    until,
    value_of,
)

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Gives a real kernel with the magics loaded and a sandbox started."""
    directory = tmp_path_factory.mktemp("kernel") / "e2b-magic"
    with running_kernel(environment_in(directory)) as kernel:
        yield kernel
    runtime.stop(directory / "embedded")


def test_jobs_and_servers_survive_a_restart(kernel: Kernel) -> None:
    """After a restart of the kernel its job still runs, its log goes on, and its server is found and shown."""
    manager, client = kernel
    execute(client, "%e2b setup page --template static")
    execute(client, "job = %e2b run --bg --quiet echo begun; until [ -e go ]; do sleep 0.05; done; echo over\n%e2b dev")
    restart: Any = manager.restart_kernel
    restart(now=True)
    client.wait_for_ready(timeout=60)
    execute(client, "%load_ext e2b_magic\n%e2b use page")
    jobs = value_of(execute(client, "%e2b jobs"))
    assert jobs.count("running") == 2
    assert ".localhost:" in value_of(execute(client, "%e2b preview"))
    assert "It works" in text_of(execute(client, "r = %e2b run curl -s localhost:8000; touch go"))
    job = next(line.split()[0] for line in jobs.splitlines() if "begun" in line)
    assert text_of(execute(client, f"ended = %e2b logs -f {job}")) == "begun\nover\n"
    assert value_of(execute(client, "ended.exit_code")) == "0"
    assert " stopped after " in value_of(execute(client, "%e2b stop 8000"))


def test_the_stop_button_ends_the_following_alone(kernel: Kernel) -> None:
    """Interrupting `logs -f` is no error and leaves the job; interrupting a wait is one, and leaves it too."""
    manager, client = kernel
    execute(client, "job = %e2b run --bg --quiet echo begun; sleep 4321")
    identity = client.execute("%e2b logs -f {job.id}")
    following = published(client, identity)
    messages = until("begun", following)
    began = time.monotonic()
    manager.interrupt_kernel()
    messages.extend(following)
    assert time.monotonic() - began < PROMPT_WITHIN
    assert not [message for message in messages if message["msg_type"] == "error"]
    assert "the job goes on" in text_of(messages)
    assert value_of(execute(client, "from e2b_magic import shared_client\nshared_client().stop_job(job).outcome")) == (
        "'stopped'"
    )


def test_the_stop_button_ends_a_setup(kernel: Kernel) -> None:
    """Interrupting an install ends it in the sandbox, gives the kernel back soon, and says that it may go on."""
    manager, client = kernel
    line = "%e2b setup stopped --template python --install 'echo installing; exec -a lingering sleep 4321'"
    following = published(client, client.execute(line))
    messages = until("installing\n", following)
    began = time.monotonic()
    manager.interrupt_kernel()
    messages.extend(following)
    assert time.monotonic() - began < PROMPT_WITHIN
    error = error_of(messages)
    assert error["evalue"] == "the setup was interrupted; done again, it goes on"
    assert len(error["traceback"]) == 1
    search = "r = %e2b run -p stopped --no-cache grep -la '[l]ingering' /proc/[0-9]*/cmdline | wc -l"
    assert text_of(execute(client, search)) == "0\n"
    assert "interrupted" in value_of(execute(client, "%e2b info stopped"))
    assert "is ready in /home/user/stopped" in text_of(execute(client, "%e2b setup stopped --template python"))
