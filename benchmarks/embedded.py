"""What the embedded server costs, through E2B's own SDK, each figure beside a peer in the same run.

    nox -s benchmarks            # or: python benchmarks/embedded.py [--strict] [--only PART…]

Times are medians; those of copies are of the pair whose ratio is the median. A figure that should stay below a bound in
milliseconds, or above one in megabytes a second, has its bound written as a multiple of the peer's in this run. A
missed bound is marked, and is an error only with `--strict`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from comparison import FreshBubblewrap, Line, compare, growth_line, middle_pair, null_server, timed, watched
from e2b import Sandbox

from e2b_magic.embedded import runtime
from e2b_magic.embedded.containment.removal import remove_state

MEGABYTE = 1_000_000
STREAMED, TRANSFERRED = 200 * MEGABYTE, 500 * MEGABYTE
ROUNDS, LIVE = 30, 100
# Files of the two homes that are copied: those of a project, and very many that hold next to nothing.
LARGE, SMALL, TINY = 4, 2_000, 20_000
# What the daemon may grow by while half a gigabyte passes through it.
GROWTH = 32 * MEGABYTE


@contextlib.contextmanager
def serving(directory: Path, **settings: str) -> Iterator[tuple[runtime.Endpoint, dict[str, Any]]]:
    """Gives a server of its own, and what the SDK must know of it."""
    endpoint = runtime.ensure(directory, settings=settings)
    try:
        yield endpoint, {"api_key": endpoint.api_key, "api_url": endpoint.url, "sandbox_url": endpoint.url}
    finally:
        runtime.stop(directory)


def whole_life_line(
    name: str, options: dict[str, Any], peer: FreshBubblewrap, bound: float, *, pause: float = 0
) -> Line:
    """A sandbox from its creation over its first command to its end."""

    def live() -> None:
        sandbox = Sandbox.create(**options)
        sandbox.commands.run("true")
        sandbox.kill()

    for _ in range(2):
        live()
        peer.run()
    ours, theirs = compare(live, peer.run, ROUNDS, pause=pause)
    return Line(f"create + first command + kill, {name}", "a fresh bwrap … bash -lc true", ours, theirs, bound / theirs)


def command_line(sandbox: Sandbox, peer: FreshBubblewrap) -> Line:
    """A command that does nothing."""
    ours, theirs = compare(lambda: sandbox.commands.run("true"), peer.run, 60)
    return Line('commands.run("true")', "a fresh bwrap … bash -lc true", ours, theirs, 1)


def output_line(sandbox: Sandbox) -> Line:
    """A command that writes without end, to a client that takes everything."""
    command = f"head -c {STREAMED} /dev/zero"

    def stream() -> None:
        took = 0

        def take(text: str) -> None:
            nonlocal took
            took += len(text)

        sandbox.commands.run(command, on_stdout=take)
        assert took == STREAMED

    def plain() -> None:
        with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            took = 0
            while part := os.read(process.stdout.fileno(), 65536):
                took += len(part)
        assert took == STREAMED

    ours, theirs = timed(stream), timed(plain)
    return Line(rate("stdout", STREAMED, ours), "the same from a pipe", ours, theirs, STREAMED / 120e6 / theirs)


def client_lines(sandbox: Sandbox, options: dict[str, Any], directory: Path) -> Iterator[Line]:
    """Output and an upload again, beside the SDK's own share of it: the same to a server that does nothing."""
    with null_server(STREAMED) as url:
        nowhere = Sandbox.connect(sandbox.sandbox_id, **{**options, "sandbox_url": url})

        def upload(to: Sandbox, *, octet_stream: bool) -> None:
            with (directory / "source").open("rb") as file:
                to.files.write("big", file, request_timeout=0, use_octet_stream=octet_stream)

        def stream(to: Sandbox) -> None:
            to.commands.run(f"head -c {STREAMED} /dev/zero", on_stdout=lambda text: None)

        works: list[tuple[str, int, Callable[[Sandbox], None]]] = [
            ("stdout", STREAMED, stream),
            ("upload", TRANSFERRED, lambda to: upload(to, octet_stream=True)),
            ("upload as a form", TRANSFERRED, lambda to: upload(to, octet_stream=False)),
        ]
        for name, size, work in works:
            ours, theirs = compare(lambda work=work: work(sandbox), lambda work=work: work(nowhere), 3)  # type: ignore[misc]
            yield Line(rate(name, size, ours), "the same to a server that does nothing", ours, theirs, 4)


def transfer_lines(sandbox: Sandbox, server: psutil.Process, directory: Path) -> Iterator[Line]:
    """Half a gigabyte into a sandbox and out of it, and what the server grows by meanwhile."""
    source, copy = directory / "source", directory / "copy"
    subprocess.run(["head", "-c", str(TRANSFERRED), "/dev/urandom"], stdout=source.open("wb"), check=True)

    def upload() -> None:
        with source.open("rb") as file:
            sandbox.files.write("big", file, request_timeout=0)

    def download() -> None:
        took = sum(len(part) for part in sandbox.files.read("big", format="stream", request_timeout=0))
        assert took == TRANSFERRED

    plain = timed(lambda: shutil.copyfile(source, copy))
    bound = TRANSFERRED / 200e6 / plain
    for name, transfer in (("upload", upload), ("download", download)):
        ours, grown = watched(transfer, server)
        yield Line(rate(name, TRANSFERRED, ours), "a copy of the same file", ours, plain, bound)
        yield growth_line("the server's growth meanwhile:", grown, GROWTH)


def rate(name: str, size: int, seconds: float) -> str:
    """Gives a name with the megabytes a second that it stands for."""
    return f"{name} of {size // MEGABYTE} MB: {size / seconds / 1e6:.0f} MB/s"


def crowd_lines(options: dict[str, Any], server: psutil.Process) -> Iterator[Line]:
    """A hundred sandboxes at once: what they take together, and a command among them."""

    def command() -> float:
        return statistics.median(timed(lambda: first.commands.run("true")) for _ in range(40))

    with contextlib.ExitStack() as ending:

        def create() -> Sandbox:
            sandbox = Sandbox.create(**options)
            ending.callback(sandbox.kill)
            return sandbox

        first = create()
        first.commands.run("true")
        alone = command()
        for _ in range(LIVE - 1):
            create()
        yield Line(f"a command among {LIVE} sandboxes", "the same alone", command(), alone, 3)
        taken = sum(memory(process) for process in [server, *server.children(recursive=True)])
        yield Line(f"{LIVE} sandboxes: {taken / 2**20:.0f} MiB in all", "(1 GiB)", taken / 2**30, 1, 2)


def copy_lines(options: dict[str, Any], directory: Path) -> Iterator[Line]:
    """Copies of a home of 500 MB, and of one with very many tiny files."""
    large = f"for n in $(seq {LARGE}); do head -c 115M /dev/urandom > large-$n; done"
    homes = {
        "a home of 500 MB": (f"{large}; {_files(SMALL, 20_000)}", ("snapshot", "fork")),
        # There are file systems that take ten seconds for it.
        f"{TINY:,} tiny files": (_files(TINY, 600), ("snapshot",)),
    }
    for name, (script, kinds) in homes.items():
        with Sandbox.create(timeout=600, **options) as sandbox:
            sandbox.commands.run(script, timeout=0)
            home = directory / "with" / "sandboxes" / sandbox.sandbox_id / "home"
            for kind in kinds:
                ours, theirs = copied(sandbox, kind, options, home, directory / "by-cp")
                yield Line(f"{kind} of {name}", "cp -a --reflink=auto of the same", ours, theirs, 1.2)


def _files(count: int, size: int) -> str:
    """Gives the script that makes so many files of so many bytes, a hundred in a directory."""
    program = (
        "import os\n"
        f"for n in range({count}):\n"
        "    os.makedirs(f'd{n // 100}', exist_ok=True)\n"
        f"    open(f'd{{n // 100}}/{{n}}', 'wb').write(os.urandom({size}))"
    )
    return f'python3 -c "{program}"'


def copied(sandbox: Sandbox, kind: str, options: dict[str, Any], home: Path, by_cp: Path) -> tuple[float, float]:
    """Gives what a snapshot or a fork of a sandbox takes, and what `cp` of its home takes."""
    made: list[Callable[[], object]] = []

    def snapshot() -> None:
        reference = sandbox.create_snapshot().snapshot_id
        made.append(lambda: sandbox.delete_snapshot(reference, **options))

    def fork() -> None:
        (copy,) = sandbox.fork()
        assert isinstance(copy, Sandbox)
        made.append(lambda: end(copy, home.parents[1] / copy.sandbox_id))

    def settle() -> None:
        while made:
            made.pop()()
        shutil.rmtree(by_cp, ignore_errors=True)
        subprocess.run(["sync"], check=True)

    command = ["cp", "-a", "--reflink=auto", str(home), str(by_cp)]
    copy = {"snapshot": snapshot, "fork": fork}[kind]
    pair = middle_pair(copy, lambda: subprocess.run(command, check=True), 3, before=settle)
    settle()
    return pair


def end(sandbox: Sandbox, directory: Path) -> None:
    """Ends a sandbox and waits until its files are gone, a moment later: their memory would be the next copy's."""
    sandbox.kill()
    while directory.exists():
        time.sleep(0.01)


def memory(process: psutil.Process) -> int:
    """Gives the bytes that a process takes, what it shares counted by its part where the kernel tells."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.AccessDenied:  # an agent shows its memory to root alone
        return int(process.memory_info().rss)


@dataclass(frozen=True, slots=True)
class Bench:
    """What the parts measure.

    Attributes:
        directory: Where everything lies.
        peer: The peer of a command.
        options: What the SDK must know of a server with a pool of one.
        server: Its process.
    """

    directory: Path
    peer: FreshBubblewrap
    options: dict[str, Any]
    server: psutil.Process

    def life(self) -> Iterator[Line]:
        """A sandbox's whole life, without a pool and with one."""
        with serving(self.directory / "without", E2B_MAGIC_POOL="0") as (_, options):
            yield whole_life_line("no pool", options, self.peer, 70e-3)
        yield whole_life_line("with a pool of one", self.options, self.peer, 40e-3)
        yield whole_life_line("the same, 0.1 s apart", self.options, self.peer, 40e-3, pause=0.1)

    def commands(self) -> Iterator[Line]:
        """Commands in a sandbox, and what they write."""
        with Sandbox.create(**self.options) as sandbox:
            yield command_line(sandbox, self.peer)
            yield output_line(sandbox)

    def transfers(self) -> Iterator[Line]:
        """Half a gigabyte in and out, and the SDK's own share of it."""
        with Sandbox.create(**self.options) as sandbox:
            yield from transfer_lines(sandbox, self.server, self.directory)
            yield from client_lines(sandbox, self.options, self.directory)

    def copies(self) -> Iterator[Line]:
        """Snapshots and forks of large homes."""
        yield from copy_lines(self.options, self.directory)

    def crowd(self) -> Iterator[Line]:
        """A hundred sandboxes."""
        yield from crowd_lines(self.options, self.server)


PARTS: dict[str, Callable[[Bench], Iterator[Line]]] = {
    "life": Bench.life,
    "commands": Bench.commands,
    "transfers": Bench.transfers,
    "copies": Bench.copies,
    "crowd": Bench.crowd,
}


def lines(directory: Path, parts: list[str]) -> Iterator[Line]:
    """Gives every line of these parts."""
    peer = FreshBubblewrap(directory)
    with serving(directory / "with", E2B_MAGIC_POOL="1") as (endpoint, options):
        bench = Bench(directory, peer, options, psutil.Process(endpoint.pid))
        for name, part in PARTS.items():
            if name in parts:
                yield from part(bench)


def main() -> int:
    """Prints every line; with `--strict`, gives 1 when a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strict", action="store_true", help="a missed bound is an error")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    wanted = parser.parse_args()
    # Not /tmp, which may be memory, and not below a home that other users cannot reach.
    directory = Path(tempfile.mkdtemp(dir="/var/tmp"))
    directory.chmod(0o755)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    missed = 0
    try:
        for line in lines(directory, wanted.only):
            print(line, flush=True)
            missed += line.ratio > line.bound
    finally:
        # Not rmtree: overlayfs leaves a directory that nobody may enter, not even its owner.
        remove_state(directory)
    return int(wanted.strict and missed > 0)


if __name__ == "__main__":
    sys.exit(main())
