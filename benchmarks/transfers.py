"""What `%e2b put` and `get` cost beside the best that E2B's own SDK can do with the same data, in the same run.

    nox -s benchmarks            # or: python benchmarks/transfers.py [--size MIB] [--files N] [--directory PLACE]
                                 #     [--rounds N] [--only tree file]

A file of 1 GiB and a tree of 10,000 small files, into a sandbox and out of it, with a disk at both ends: one that is
slow, or that others use, hides all else, and `--directory /dev/shm` takes it away. The SDK has several ways; each is
tried with an eighth of the data, those that come close to the fastest carry all of it, and the fastest is the peer.
The growth is that of this process, which stands for the kernel: taken before any peer has run, when nothing has
stretched its heap yet. A missed bound is marked, and is an error only with `--strict`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil
from comparison import Line, growth_line, timed, watched
from e2b import AsyncSandbox, Sandbox

from e2b_magic.client import Client
from e2b_magic.config import from_environment
from e2b_magic.embedded import runtime
from e2b_magic.embedded.containment.removal import remove_state

MEBIBYTE = 1024 * 1024
SMALL, DIRECTORIES = 4096, 100
BOUND = 1.25
# What this process may grow by while a transfer passes through it.
GROWTH = 64_000_000
AT_ONCE = 32
"""Requests of the SDK's at once, where it carries each file by itself."""
CLOSE = 3
"""How much slower than the fastest a way may be with little data to be tried with all of it."""

Way = Callable[[Path, str], object]
"""Carries a path of this machine to one in the sandbox, or the reverse."""


@dataclass(frozen=True, slots=True)
class RawSdk:
    """The ways that a user of the SDK alone has.

    Attributes:
        sandbox: The sandbox that both sides use.
        options: By which the SDK finds its server.
    """

    sandbox: Sandbox
    options: dict[str, Any]

    def put_file(self, local: Path, remote: str) -> None:
        """A file, streamed from the disk."""
        with local.open("rb") as file:
            self.sandbox.files.write(remote, file, request_timeout=0, use_octet_stream=True)

    def put_pieces(self, local: Path, remote: str) -> None:
        """A file, handed over in large pieces."""
        with local.open("rb") as file:
            self.sandbox.files.write(remote, _pieces(file), request_timeout=0, use_octet_stream=True)

    def get_file(self, local: Path, remote: str) -> None:
        """A file, streamed to the disk."""
        with local.open("wb") as file:
            for chunk in self.sandbox.files.read(remote, format="stream", request_timeout=0):
                file.write(chunk)

    def put_archive(self, local: Path, remote: str) -> None:
        """A tree by way of tar at both ends, streamed."""
        with subprocess.Popen(["tar", "-C", local, "-cf", "-", "."], stdout=subprocess.PIPE) as packing:
            assert packing.stdout is not None
            self.sandbox.files.write("theirs.tar", _pieces(packing.stdout), request_timeout=0, use_octet_stream=True)
        self.sandbox.commands.run(f"mkdir {remote} && tar -C {remote} -xf theirs.tar && rm theirs.tar", timeout=0)

    def get_archive(self, local: Path, remote: str) -> None:
        """A tree by way of tar at both ends, streamed."""
        local.mkdir()
        self.sandbox.commands.run(f"tar -C {remote} -cf theirs.tar .", timeout=0)
        with subprocess.Popen(["tar", "-C", local, "-xf", "-"], stdin=subprocess.PIPE) as unpacking:
            assert unpacking.stdin is not None
            for chunk in self.sandbox.files.read("theirs.tar", format="stream", request_timeout=0):
                unpacking.stdin.write(chunk)
        self.sandbox.commands.run("rm theirs.tar", timeout=0)

    def put_at_once(self, local: Path, remote: str) -> None:
        """A tree by one call of `write_files`."""
        self.sandbox.files.write_files(
            [{"path": f"{remote}/{path.relative_to(local)}", "data": path.read_bytes()} for path in _files(local)],
            request_timeout=0,
        )

    def put_side_by_side(self, local: Path, remote: str) -> None:
        """A tree by many requests at once, a file each."""

        def put(sandbox: AsyncSandbox, path: Path) -> Awaitable[object]:
            return sandbox.files.write(f"{remote}/{path.relative_to(local)}", path.read_bytes())

        self._side_by_side(put, _files(local))

    def get_side_by_side(self, local: Path, remote: str) -> None:
        """A tree by many requests at once, a file each."""

        async def get(sandbox: AsyncSandbox, name: str) -> None:
            path = local / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(await sandbox.files.read(f"{remote}/{name}", format="bytes"))

        found = self.sandbox.commands.run(f"cd {remote} && find . -type f -printf '%P\\n'", timeout=0)
        self._side_by_side(get, found.stdout.splitlines())

    def _side_by_side(self, carry: Callable[[AsyncSandbox, Any], Awaitable[object]], what: list[Any]) -> None:
        async def all_of_it() -> None:
            sandbox = await AsyncSandbox.connect(self.sandbox.sandbox_id, **self.options)
            left = iter(what)

            async def some() -> None:
                for one in left:
                    await carry(sandbox, one)

            await asyncio.gather(*[some() for _ in range(AT_ONCE)])

        asyncio.run(all_of_it())


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(MEBIBYTE), b"")


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@dataclass(frozen=True, slots=True)
class Carrying:
    """Something to be carried.

    Attributes:
        name: What that is called.
        into: Whether it goes into the sandbox; else it comes out.
        what: Its name in the data; that of a little one, to try ways with, begins with `little-`.
        ours: Our way.
        theirs: The SDK's ways.
    """

    name: str
    into: bool
    what: str
    ours: Way
    theirs: list[Way]


@dataclass(frozen=True, slots=True)
class Bench:
    """A place for transfers: what is carried, and what clears away the copies, which is never timed.

    Attributes:
        client: Ours.
        sdk: The peer.
        directory: Where the data lies on this machine.
        rounds: How often each side carries it.
        checked: What has been carried, and by which way, and found to be whole.
    """

    client: Client
    sdk: RawSdk
    directory: Path
    rounds: int
    checked: set[tuple[str, Way]] = field(default_factory=set)

    def put(self, what: str, way: Way, whose: str) -> float:
        """Gives the seconds of an upload, whose copy is removed, and checked the first time."""
        seconds = timed(lambda: way(self.directory / what, whose))
        if (what, way) not in self.checked:
            there = self._run(f"cd ~ && {_SUM.format(path=whose)}")
            assert there == self._sum(what), f"{whose}: other than what was put"
            self.checked.add((what, way))
        self._run(f"rm -r {whose}")
        return seconds

    def get(self, what: str, way: Way, whose: str) -> float:
        """Gives the seconds of a download, whose copy is removed, and checked the first time."""
        seconds = timed(lambda: way(self.directory / whose, what))
        if (what, way) not in self.checked:
            assert self._sum(whose) == self._sum(what), f"{whose}: other than what was got"
            self.checked.add((what, way))
        copy = self.directory / whose
        shutil.rmtree(copy) if copy.is_dir() else copy.unlink()
        return seconds

    def _run(self, command: str) -> str:
        return self.sdk.sandbox.commands.run(command, timeout=0).stdout

    def _sum(self, what: str) -> str:
        command = ["bash", "-c", _SUM.format(path=what)]
        return subprocess.run(command, cwd=self.directory, stdout=subprocess.PIPE, text=True, check=True).stdout

    def line(self, carrying: Carrying) -> Line:
        """Compares one way of ours with the fastest of theirs."""
        carry = self.put if carrying.into else self.get
        mine: list[float] = []
        theirs: dict[Way, list[float]] = {way: [] for way in self._peers(carrying)}
        for _ in range(self.rounds):
            mine.append(carry(carrying.what, carrying.ours, "ours"))
            for way, times in theirs.items():
                times.append(carry(carrying.what, way, "theirs"))
        medians = {way: statistics.median(times) for way, times in theirs.items()}
        best = min(medians, key=medians.__getitem__)
        return Line(carrying.name, _told(best), statistics.median(mine), medians[best], BOUND)

    def _peers(self, carrying: Carrying) -> list[Way]:
        """Gives those of their ways that may be the fastest: what little data tells is not always so of much."""
        if len(carrying.theirs) == 1:
            return carrying.theirs
        carry = self.put if carrying.into else self.get
        tried = {way: carry(f"little-{carrying.what}", way, "theirs") for way in carrying.theirs}
        print("   ", ", ".join(f"{_told(way)}: {seconds:.2f} s" for way, seconds in tried.items()), flush=True)
        return [way for way, seconds in tried.items() if seconds < CLOSE * min(tried.values())]

    def growth(self, carrying: Carrying) -> Line:
        """Tells what a way of ours makes this process grow by."""
        carry = self.put if carrying.into else self.get
        if not carrying.into:
            self.client.upload(self.directory / carrying.what, carrying.what)
        grown = watched(lambda: carry(carrying.what, carrying.ours, "ours"), psutil.Process())[1]
        return growth_line(f"{carrying.name}: grown by", grown, GROWTH)


# One sum over all contents and names, the same for a file under any name.
_SUM = (
    "if [ -f {path} ]; then sha256sum < {path}; exit; fi; "
    "cd {path} && find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum"
)


def _told(way: Way) -> str:
    return (way.__doc__ or "").rstrip(".").lower()


def lines(bench: Bench, only: Sequence[str], size: int, count: int) -> Iterator[Line]:
    """Gives every line: first what each way of ours makes this process grow by, then the times."""

    def put(local: Path, remote: str) -> None:
        bench.client.upload(local, remote)

    def get(local: Path, remote: str) -> None:
        bench.client.download(remote, local)

    sdk, file, tree = bench.sdk, f"file of {size} MiB", f"{count:,} files of {SMALL // 1024} KiB"
    work = [
        Carrying(f"put {tree}", True, "tree", put, [sdk.put_archive, sdk.put_at_once, sdk.put_side_by_side]),
        Carrying(f"get {tree}", False, "tree", get, [sdk.get_archive, sdk.get_side_by_side]),
        Carrying(f"put {file}", True, "file", put, [sdk.put_file, sdk.put_pieces]),
        Carrying(f"get {file}", False, "file", get, [sdk.get_file]),
    ]
    for what in ("little-file", "little-tree"):
        bench.put(what, put, "warm")
        put(bench.directory / what, what)
        bench.get(what, get, "warm")
    work = [carrying for carrying in work if carrying.what in only]
    yield from map(bench.growth, work)
    yield from map(bench.line, work)


def make_data(directory: Path, size: int, count: int) -> None:
    """Makes the file, the tree, and a little of both."""

    def file(path: Path, length: int) -> None:
        with path.open("wb") as written:
            for start in range(0, length, MEBIBYTE):
                written.write(os.urandom(min(MEBIBYTE, length - start)))

    def tree(root: Path, files: int) -> None:
        for number in range(files):
            path = root / f"{number % DIRECTORIES:02}" / f"{number:05}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(SMALL))

    file(directory / "file", size * MEBIBYTE)
    file(directory / "little-file", max(size // 8, 1) * MEBIBYTE)
    tree(directory / "tree", count)
    tree(directory / "little-tree", max(count // 8, 1))


def run(directory: Path, arguments: argparse.Namespace) -> int:
    """Prints every line, and gives how many missed their bound."""
    data = directory / "data"
    data.mkdir()
    make_data(data, arguments.size, arguments.files)
    client = Client(from_environment({"E2B_MAGIC_DIRECTORY": str(directory / "state")}))
    try:
        client.execute_command("true", use_cache=False)
        endpoint = runtime.ensure(directory / "state" / "embedded")
        options: dict[str, Any] = {"api_key": endpoint.api_key, "api_url": endpoint.url, "sandbox_url": endpoint.url}
        sandbox = Sandbox.connect(client.get_sandbox_status().sandbox_id, **options)
        bench = Bench(client, RawSdk(sandbox, options), data, arguments.rounds)
        missed = 0
        for line in lines(bench, arguments.only, arguments.size, arguments.files):
            print(line, flush=True)
            missed += line.ratio > line.bound
        return missed
    finally:
        client.close()
        runtime.stop(directory / "state" / "embedded")


def main() -> int:
    """Prints every line; with `--strict`, gives 1 when a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=["tree", "file"], default=["tree", "file"], help="what to carry")
    parser.add_argument("--size", type=int, default=1024, help="MiB of the file")
    parser.add_argument("--files", type=int, default=10_000, help="files of the tree")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is carried")
    parser.add_argument("--strict", action="store_true", help="a missed bound is an error")
    # Not /tmp, which may be memory, and not below a home that other users cannot reach.
    parser.add_argument("--directory", default="/var/tmp", help="where all of it lies, such as /dev/shm for no disk")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(dir=arguments.directory))
    directory.chmod(0o755)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    try:
        return int(run(directory, arguments) > 0 and arguments.strict)
    finally:
        # Not rmtree: overlayfs leaves a directory that nobody may enter, not even its owner.
        remove_state(directory)


if __name__ == "__main__":
    sys.exit(main())
