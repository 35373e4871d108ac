"""What a command costs on each stretch of its way, each figure beside a peer in the same run.

    nox -s benchmarks            # or: python benchmarks/foundation.py [--strict]

Every line gives a median, its peer's median, and their ratio with the bound that it should keep. Rounds of both are
interleaved, so that a noisy machine disturbs both alike; it may still disturb one of them more. So a missed bound is
marked, and is an error only with `--strict`, for a machine that is quiet.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diskcache
from comparison import FreshBubblewrap, Line, compare
from e2b import Sandbox

from e2b_magic.client import Client
from e2b_magic.config import from_environment
from e2b_magic.embedded import runtime
from e2b_magic.embedded.containment.removal import remove_state


def store_line(client: Client, directory: Path) -> Line:
    """A cached command through the client, beside diskcache's `get` of the same record."""
    record = client.execute_command("true")
    with diskcache.Cache(str(directory / "diskcache")) as cache:
        cache["record"] = record.to_json()
        assert client.execute_command("true").cached
        ours, theirs = compare(lambda: client.execute_command("true"), lambda: cache["record"], 3000)
    return Line("cached execute_command", "diskcache.Cache.get", ours, theirs, 6)


def command_lines(client: Client, peer: FreshBubblewrap) -> list[Line]:
    """A command through the client, through the bare SDK, and in a fresh bubblewrap."""
    sandbox_id = client.execute_command("true", use_cache=False).sandbox_id
    sandbox = Sandbox.connect(sandbox_id, **_there(client))
    raw = lambda: sandbox.commands.run("true")  # noqa: E731  a name for the column
    for call in (raw, peer.run):
        call()
    through, bare = compare(lambda: client.execute_command("true", use_cache=False), raw, 150)
    again, fresh = compare(raw, peer.run, 60)
    return [
        Line('execute_command("true"), not cached', "the SDK's commands.run", through, bare, 1.3),
        Line("the SDK's commands.run", "a fresh bwrap … bash -lc true", again, fresh, 1),
    ]


def create_line(client: Client, peer: FreshBubblewrap) -> Line:
    """A sandbox from nothing to its first command, beside a fresh bubblewrap; the bound in the issue is 80 ms."""
    options = _there(client)

    def create() -> None:
        sandbox = Sandbox.create(**options)
        sandbox.commands.run("true")
        born.append(sandbox)

    born: list[Sandbox] = []
    ours, theirs = compare(create, peer.run, 20)
    for sandbox in born:
        sandbox.kill()
    return Line("Sandbox.create() + first command", "a fresh bwrap … bash -lc true", ours, theirs, 80e-3 / theirs)


def magic_line(client: Client) -> Line:
    """A cached `%e2b run` in a real shell; its bound is 1.5 ms, written as a multiple of the client's share."""
    from IPython.core.interactiveshell import InteractiveShell

    from e2b_magic.client import set_shared_client

    shell: Any = InteractiveShell.instance()  # IPython's shell is typed only in part
    set_shared_client(client)
    shell.run_line_magic("load_ext", "e2b_magic")
    client.execute_command("true")

    def run() -> Any:
        return shell.run_line_magic("e2b", "run true")

    assert run().cached
    ours, theirs = compare(run, lambda: client.execute_command("true"), 1000)
    return Line("cached %e2b run", "cached execute_command", ours, theirs, 1.5e-3 / theirs)


def loading_line() -> Line:
    """IPython with the extension, beside bare IPython; the bound is 60 ms more."""

    def start(*more: str) -> Callable[[], object]:
        command = [sys.executable, "-m", "IPython", "--quick", *more, "-c", "pass"]
        return lambda: subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL)

    ours, theirs = compare(start("--ext=e2b_magic"), start(), 9)
    return Line("ipython --ext=e2b_magic -c pass", "ipython -c pass", ours, theirs, 1 + 60e-3 / theirs)


def _there(client: Client) -> dict[str, Any]:
    endpoint = runtime.ensure(client.configuration.directory / "embedded")
    return {"api_key": endpoint.api_key, "api_url": endpoint.url, "sandbox_url": endpoint.url}


def main() -> int:
    """Prints every line; with `--strict`, gives 1 when a bound is missed."""
    # Not /tmp, which may be memory, and not below a home that other users cannot reach.
    directory = Path(tempfile.mkdtemp(dir="/var/tmp"))
    directory.chmod(0o755)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    client = Client(from_environment({"E2B_MAGIC_DIRECTORY": str(directory / "e2b-magic")}))
    try:
        peer = FreshBubblewrap(directory)
        lines = [store_line(client, directory), *command_lines(client, peer), create_line(client, peer)]
        lines += [magic_line(client), loading_line()]
    finally:
        client.close()
        runtime.stop(directory / "e2b-magic" / "embedded")
        # Not rmtree: overlayfs leaves a directory that nobody may enter, not even its owner.
        remove_state(directory)
    for line in lines:
        print(line)
    return int("--strict" in sys.argv and any(line.ratio > line.bound for line in lines))


if __name__ == "__main__":
    sys.exit(main())
