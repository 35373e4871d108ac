"""Where the key is not: a canary, which is a real key of a real server, is looked for wherever it might have gone."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from e2b_magic.embedded import runtime
from e2b_magic.embedded.endpoint import Endpoint
from e2b_magic.server_extension.environment import take_settings
from e2b_magic.server_extension.redaction import Redactor

from .conftest import Kernel, run, started_kernel

OTHER_KEY = "e2b_" + "c0ffee" * 6


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """Gives an E2B server of somebody else's, whose key is the canary."""
    directory = tmp_path_factory.mktemp("elsewhere")
    yield runtime.ensure(directory)
    runtime.stop(directory)


def _environment(elsewhere: Endpoint, key: str) -> dict[str, str]:
    return {
        "E2B_API_KEY": key,
        "E2B_ACCESS_TOKEN": f"{key}-too",
        "E2B_API_URL": elsewhere.url,
        "E2B_SANDBOX_URL": elsewhere.url,
        "NO_PROXY": "127.0.0.1,localhost",
    }


@pytest.fixture(scope="module")
def server(start_jupyter: Callable[..., Any], elsewhere: Endpoint) -> Any:
    """Gives a Jupyter server that was started with the canary in its environment."""
    return start_jupyter("", _environment(elsewhere, elsewhere.api_key))


@pytest.fixture(scope="module")
def kernel(server: Any) -> Iterator[Kernel]:
    """Gives a kernel of that server's, in which a user has done this and that."""
    with started_kernel(server) as kernel:
        for cell in CELLS:
            kernel.execute(cell)
        yield kernel


CELLS = [
    "%load_ext e2b_magic",
    "%xmode Verbose",
    "%e2b run echo from-$((6 * 7))",
    "%e2b run exit 3",
    "%e2b run --cwd /nowhere ls",
    "%e2b status",
    "from e2b_magic import shared_client\nshared_client().execute_command('true', template='nowhere', project='other')",
    "shared_client().read_file('nothing')",
    "%e2b panel",
    "import os\nprint(sorted(os.environ.items()))",
    "print(repr(shared_client()), repr(shared_client().configuration), vars(shared_client()))",
]


@pytest.mark.sandbox
def test_a_kernel_works_without_a_key(kernel: Kernel) -> None:
    """With no key in its environment it runs commands on the server's E2B, and says which that is."""
    assert "from-42" in kernel.execute("%e2b run --no-cache echo from-$((6 * 7))")
    assert "E2B_API" not in kernel.execute("import os; print(list(os.environ))")
    errors = [message["ename"] for message in kernel.messages if message["type"] == "error"]
    assert errors == ["CommandFailedError", "InvalidRequestError", "InvalidRequestError", "RemoteFileNotFoundError"]


@pytest.mark.sandbox
def test_the_key_is_in_no_notebook_and_no_traceback(kernel: Kernel, elsewhere: Endpoint) -> None:
    """What the kernel has published holds no part of it: outputs, values, and tracebacks that print every local."""
    assert kernel.messages
    assert elsewhere.api_key[4:] not in json.dumps(kernel.messages)


@pytest.mark.sandbox
def test_the_key_is_in_no_file(server: Any, kernel: Kernel, elsewhere: Endpoint) -> None:
    """Neither the log, at its most talkative, nor the store, nor IPython's history, nor anything else holds it."""
    files = [path for path in server.folder.rglob("*") if path.is_file()]
    assert {"server.log", "store.db", "history.sqlite"} <= {path.name for path in files}
    for path in files:
        assert elsewhere.api_key[4:].encode() not in path.read_bytes(), path
    tokens = [path.name for path in files if b"e2bw_" in path.read_bytes()]
    assert tokens == []


@pytest.mark.sandbox
def test_the_key_is_in_no_process(server: Any, kernel: Kernel, elsewhere: Endpoint) -> None:
    """No process that the server has started was given it, terminals included, and its own shows it no more."""
    headers = {"Authorization": f"token {server.token}"}
    assert httpx.post(f"{server.url}api/terminals", headers=headers, trust_env=False).status_code == 200
    processes = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    assert len(processes) >= 3
    for process in processes:
        for name in ("environ", "cmdline"):
            with suppress(ProcessLookupError, FileNotFoundError):  # it has just ended
                assert elsewhere.api_key[4:].encode() not in Path(f"/proc/{process.pid}/{name}").read_bytes(), process
    # What a kernel itself can read of its parent.
    parent = kernel.execute("print(open(f'/proc/{os.getppid()}/environ').read())")
    assert "E2B_MAGIC_DIRECTORY" in parent
    assert elsewhere.api_key[4:] not in parent


@pytest.mark.sandbox
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_key_is_nowhere_in_a_kernels_memory(server: Any, kernel: Kernel, elsewhere: Endpoint) -> None:
    """Whatever the kernel's process holds, a text that a cell makes is found there, and no part of the key is."""
    process = int(kernel.execute("import os; mark = ''.join(['in-', 'memory-', '7c1f']); print(os.getpid())"))
    held = b"".join(_memory(process))
    assert b"in-memory-7c1f" in held
    assert elsewhere.api_key[4:].encode() not in held


def _memory(process: int) -> Iterator[bytes]:
    """Gives what a process holds in memory of its own, as far as it can be read."""
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            begin, end = (int(part, 16) for part in span.split("-"))
            if rights.startswith("rw") and end - begin < 2**30:
                with suppress(OSError):  # such as what is reserved and was never used
                    memory.seek(begin)
                    yield memory.read(end - begin)


@pytest.mark.sandbox
def test_a_requests_own_key_is_used_for_it_and_kept_nowhere(
    start_jupyter: Callable[..., Any], elsewhere: Endpoint
) -> None:
    """A server whose own key is refused works with one that a request brings, for that request alone."""
    server = start_jupyter("", _environment(elsewhere, OTHER_KEY))
    headers = {"Authorization": f"token {server.token}"}
    with httpx.Client(base_url=f"{server.url}e2b-magic/", headers=headers, timeout=60, trust_env=False) as http:
        for route in ("worker", "worker/stream"):
            refused = http.post(route, json=run("true")).text
            assert "authentication" in refused
            assert OTHER_KEY[4:] not in refused
            own = http.post(route, json=run("echo in-$((6 * 7))", api_key=elsewhere.api_key))
            assert "in-42" in own.text
            assert elsewhere.api_key[4:] not in own.text
            assert "authentication" in http.post(route, json=run("true")).text
    for path in server.folder.rglob("*"):
        if path.is_file():
            for key in (elsewhere.api_key, OTHER_KEY):
                assert key[4:].encode() not in path.read_bytes(), path


def test_settings_are_taken_out_of_an_environment() -> None:
    """What the worker uses is given and gone; another server's worker is gone; all else stays."""
    environment = {"E2B_API_KEY": "k", "E2B_DOMAIN": "d", "E2B_MAGIC_WORKER_URL": "u", "E2B_MAGIC_DIRECTORY": "/x"}
    assert take_settings(environment) == {"E2B_API_KEY": "k", "E2B_DOMAIN": "d", "E2B_MAGIC_DIRECTORY": "/x"}
    assert environment == {"E2B_MAGIC_DIRECTORY": "/x"}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_taken_secret_is_wiped_where_the_kernel_shows_it() -> None:
    """Deleting a variable leaves it in /proc/<pid>/environ; taking it does not."""
    code = (
        "import os\nfrom pathlib import Path\n"
        "from e2b_magic.server_extension.environment import take_settings\n"
        "shown = lambda: Path('/proc/self/environ').read_bytes()\n"
        "assert b'canary-value' in shown()\n"
        "assert take_settings(os.environ)['E2B_API_KEY'] == 'canary-value'\n"
        "assert b'canary-value' not in shown() and b'bystander' in shown()\n"
        "assert 'E2B_API_KEY' not in os.environ and os.environ['OTHER'] == 'bystander'\n"
    )
    environment = {**os.environ, "E2B_API_KEY": "canary-value", "OTHER": "bystander"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def _logged(redactor: Redactor, write: Callable[[logging.Logger], object]) -> str:
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    logger = logging.Logger("redacted")
    logger.addHandler(Lines())
    redactor.watch(logger)
    redactor.watch(logger)
    write(logger)
    return "\n".join(lines)


def test_a_log_is_redacted() -> None:
    """Keys, tokens and tickets are masked in messages, arguments and tracebacks, known secrets wherever they stand."""
    redactor = Redactor()
    redactor.hide("known-secret")

    def fail(logger: logging.Logger) -> None:
        try:
            int(OTHER_KEY)
        except ValueError:
            logger.exception("failed: %s", "known-secret")

    told = _logged(redactor, fail)
    assert told.count("[secret]") == 2
    assert "ValueError: invalid literal for int() with base 10: '[secret]'" in told
    for text in (OTHER_KEY, "e2bw_" + "x" * 43, "/base/e2b-magic/preview-" + "t" * 32 + "/x.js"):
        told = _logged(redactor, lambda logger, text=text: logger.warning("GET %s (%d)", text, 7))  # type: ignore[misc]  # a default binds it
        assert "[secret]" in told
        assert told.endswith("(7)")
        assert "xxxx" not in told.replace("[secret]", "")
        assert "tttt" not in told
    assert _logged(redactor, lambda logger: logger.warning("%d", "known-secret")) == "%d (its arguments do not fit)"
    assert _logged(redactor, lambda logger: logger.warning("e2b_magic | extension")) == "e2b_magic | extension"


def test_a_requests_key_is_masked_while_it_is_used() -> None:
    """However it is spelt; afterwards the filter does not know it any more."""
    redactor = Redactor()
    with redactor.hiding("odd key text"), redactor.hiding("odd key text"):
        assert redactor.redact("an odd key text") == "an [secret]"
    assert redactor.redact("an odd key text") == "an odd key text"
