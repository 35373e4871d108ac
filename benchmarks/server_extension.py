"""What the way through a Jupyter server costs, beside the same work in this process, in the same run.

    nox -s benchmarks            # or: python benchmarks/server_extension.py [--strict] [--waits]

Both clients use the same embedded server, so that only the way differs. A bound in milliseconds is written as a
multiple of the peer's time in this run. A missed bound is marked, and is an error only with `--strict`.

Then what another client waits for the server's routes while fifty commands stream through it, beside what it waits
while fifty clients ask as often for Jupyter's plainest route. `--waits` measures that alone.
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
from http.client import HTTPConnection
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

from comparison import Line, compare, timed

from e2b_magic.client import Client
from e2b_magic.config import from_environment
from e2b_magic.embedded import runtime
from e2b_magic.embedded.containment.removal import remove_state

TOKEN = "benchmark"
OVERHEAD = 8e-3
"""What one small command may take longer through the server, in seconds."""
LONGEST = 0.1
"""The longest that another route may be waited for beside fifty streams, in seconds."""
ROUTES = ("api", "api/status", "e2b-magic/health")
ROUNDS = 6


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


# Fifty clients on one loop: each streams a command of ten lines in two seconds, or asks a plain route eleven times.
_FIFTY = """
import asyncio, json, sys
host, port, token, kind = sys.argv[1:]
async def ask(method, path, body=b""):
    reader, writer = await asyncio.open_connection(host, int(port))
    head = [f"{method} {path} HTTP/1.1", f"Host: {host}:{port}", f"Authorization: token {token}", "Connection: close"]
    writer.write("\\r\\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    return answer
async def stream(number):
    command = f"for i in 0 1 2 3 4 5 6 7 8 9; do echo {number}-$i; sleep 0.2; done"
    request = {"type": "execute_command", "project_id": "default", "command": command}
    answer = await ask("POST", "/e2b-magic/worker/stream", json.dumps(request).encode())
    told = [json.loads(line) for line in answer.splitlines() if line.startswith(b"{")]
    assert told[-1]["envelope"]["data"]["stdout"] == "".join(f"{number}-{i}\\n" for i in range(10)), told[-1]
async def bare(number):
    for _ in range(11):
        await ask("GET", "/api")
        await asyncio.sleep(0.2)
async def fifty():
    await asyncio.gather(*({"stream": stream, "bare": bare}[kind](number) for number in range(50)))
asyncio.run(fifty())
"""


def _waits(url: str, load: str | None) -> dict[str, list[float]]:
    """Gives what one client waits for each route, in seconds, beside fifty others or, for two seconds, beside none."""
    server = urlsplit(url)
    where = (str(server.hostname), str(server.port))
    others = subprocess.Popen([sys.executable, "-c", _FIFTY, *where, TOKEN, load]) if load else None
    waits: dict[str, list[float]] = {route: [] for route in ROUTES}
    until = time.monotonic() + 2
    while others.poll() is None if others else time.monotonic() < until:
        for route in ROUTES:
            waits[route].append(timed(lambda route=route: _get(*where, route)))  # type: ignore[misc]  # a default binds it
        time.sleep(0.01)
    if others is not None and others.returncode:
        raise SystemExit("the fifty clients did not get what they asked for")
    return waits


def _get(host: str, port: str, route: str) -> None:
    connection = HTTPConnection(host, int(port), timeout=60)
    connection.request("GET", f"/{route}", headers={"Authorization": f"token {TOKEN}"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 200, route


def waits_lines(url: str) -> list[Line]:
    """What is waited for each route beside fifty streams: nine of ten times, and at the longest."""
    quiet = _waits(url, None)
    rounds = [(_waits(url, "stream"), _waits(url, "bare")) for _ in range(ROUNDS)]
    lines = []
    for route in ROUTES:
        ours, theirs = (sorted(chain.from_iterable(one[which][route] for one in rounds)) for which in (0, 1))
        middle = sorted(quiet[route])[len(quiet[route]) // 2]
        print(f"{route}: {middle * 1e3:.1f} ms when quiet, {ours[len(ours) // 2] * 1e3:.1f} ms in the middle meanwhile")
        for name, here, there in (
            ("p90", ours[len(ours) * 9 // 10], theirs[len(theirs) * 9 // 10]),
            ("longest", ours[-1], theirs[-1]),
        ):
            lines.append(
                Line(
                    f"{route} beside 50 streams, {name}",
                    "beside 50 clients of api",
                    here,
                    there,
                    round(LONGEST / there, 2),
                )
            )
    return lines


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
            if "--waits" in sys.argv:
                remote.execute_command("true")
                lines = waits_lines(url)
            else:
                lines = [command_line(remote, local), output_line(remote, local), cached_line(remote, local)]
                lines += waits_lines(url)
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
