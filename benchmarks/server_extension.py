"""What the way through a Jupyter server costs, beside the same work in this process, in the same run.

    nox -s benchmarks            # or: python benchmarks/server_extension.py [--strict]

Both clients use the same embedded server, so that only the way differs. A bound in milliseconds is written as a
multiple of the peer's time in this run. A missed bound is marked, and is an error only with `--strict`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from comparison import Line, compare

from e2b_magic.client import Client
from e2b_magic.config import from_environment
from e2b_magic.embedded import runtime
from e2b_magic.embedded.containment.removal import remove_state

TOKEN = "benchmark"
OVERHEAD = 8e-3
"""What one small command may take longer through the server, in seconds."""


@contextlib.contextmanager
def jupyter(directory: Path) -> Iterator[str]:
    """Gives the URL of a Jupyter server whose worker's files lie in a directory."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--no-browser", "--allow-root", f"--port={port}", f"--IdentityProvider.token={TOKEN}"]
    environment = {**os.environ, "E2B_MAGIC_DIRECTORY": str(directory), "JUPYTER_CONFIG_DIR": str(directory / "none")}
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyter", "server", *options],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/"
    try:
        _wait_for(url, process)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"{url}api").close()
            return
        time.sleep(0.05)
    raise SystemExit("the Jupyter server did not start")


def command_line(remote: Client, local: Client) -> Line:
    """One small command, not answered from the store."""

    def ours() -> object:
        return remote.execute_command("true", use_cache=False)

    def theirs() -> object:
        return local.execute_command("true", use_cache=False)

    for call in (ours, theirs):
        call()
    through, here = compare(ours, theirs, 150)
    return Line(
        'execute_command("true") through Jupyter', "the same in this process", through, here, 1 + OVERHEAD / here
    )


def output_line(remote: Client, local: Client) -> Line:
    """A command that writes 20 MB, all of it streamed."""
    command = "head -c 20000000 /dev/zero | tr '\\0' x"

    def run(client: Client) -> object:
        return client.execute_command(command, use_cache=False, on_event=lambda event: None)

    through, here = compare(lambda: run(remote), lambda: run(local), 7)
    return Line("20 MB of output through Jupyter", "the same in this process", through, here, 4)


def cached_line(remote: Client, local: Client) -> Line:
    """A cached command, for which nobody is asked."""
    for client in (remote, local):
        client.execute_command("true")
        assert client.execute_command("true").cached
    through, here = compare(lambda: remote.execute_command("true"), lambda: local.execute_command("true"), 1000)
    return Line("cached execute_command, worker elsewhere", "the same, worker in this process", through, here, 1.5)


def main() -> int:
    """Prints every line; with `--strict`, gives 1 when a bound is missed."""
    directory = Path(tempfile.mkdtemp(dir="/var/tmp"))
    directory.chmod(0o755)
    served = directory / "e2b-magic"
    local = Client(from_environment({"E2B_MAGIC_DIRECTORY": str(served)}))
    try:
        with jupyter(served) as url:
            worker = {"E2B_MAGIC_WORKER_URL": url, "E2B_MAGIC_WORKER_TOKEN": TOKEN}
            remote = Client(from_environment({"E2B_MAGIC_DIRECTORY": str(directory / "kernel"), **worker}))
            lines = [command_line(remote, local), output_line(remote, local), cached_line(remote, local)]
            remote.close()
    finally:
        local.close()
        runtime.stop(served / "embedded")
        remove_state(directory)
    for line in lines:
        print(line)
    return int("--strict" in sys.argv and any(line.ratio > line.bound for line in lines))


if __name__ == "__main__":
    sys.exit(main())
