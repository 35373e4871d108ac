"""What the way out costs: bytes and connections through a sandbox's proxy, beside the same without sandbox and proxy.

The same program fetches from the same server on this machine's loopback: once from a sandbox, through its proxy, once
straight from the host. So the ratio is the worst there is: beside a real network the proxy costs next to nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.egress.addresses import Guard
from e2b_magic.embedded.egress.gateway import Gateway
from e2b_magic.embedded.egress.policy import Policy
from e2b_magic.embedded.egress.proxy import PORT, Egress
from e2b_magic.embedded.sandbox.preflight import prepare
from e2b_magic.embedded.sandbox.sandbox import Sandbox

MEBIBYTES = 1024
SHORT = 300

# Prints the seconds that a gigabyte takes, and the milliseconds that each short connection does. Told of a proxy, it
# asks that for a tunnel first.
CLIENT = """
import socket, sys, time
port, size, count, proxy = map(int, sys.argv[1:])
def dial():
    connection = socket.create_connection(("127.0.0.1", proxy or port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if proxy:
        connection.sendall(f"CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\n\\r\\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    return connection
connection = dial()
connection.sendall(b"GET /big HTTP/1.0\\r\\n\\r\\n")
began, left, block = time.perf_counter(), size, bytearray(1 << 20)
while got := connection.recv_into(block):
    left -= got
print(time.perf_counter() - began, left <= 0)
times = []
for _ in range(count):
    began = time.perf_counter()
    connection = dial()
    connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    while connection.recv(4096):
        pass
    times.append(time.perf_counter() - began)
print(sorted(times)[count // 2] * 1000)
"""
SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        block = bytes(1 << 20)
        for _ in range(int(sys.argv[1]) if self.path == "/big" else 0):
            self.wfile.write(block)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def _read(told: str) -> tuple[float, float]:
    """Gives MiB a second, and milliseconds a connection."""
    seconds, whole, short = told.split()
    if whole != "True":
        raise SystemExit("the transfer broke off")
    return MEBIBYTES / float(seconds), float(short)


def _arguments(port: int, proxy: int) -> list[str]:
    return ["-c", CLIENT, *map(str, (port, MEBIBYTES << 20, SHORT, proxy))]


async def _inside(sandbox: Sandbox, port: int) -> tuple[float, float]:
    argv = ["python3", *_arguments(port, PORT)]
    process = await sandbox.spawn(argv=argv, envs={}, cwd=None, user="user", stdin=False)
    await process.exited
    told = await asyncio.to_thread(Path(f"/proc/self/fd/{process.stdout}").read_text)
    process.close()
    return _read(told)


async def _measure(rounds: int, port: int) -> None:
    with tempfile.TemporaryDirectory(prefix="e2b-magic-egress-") as directory:
        launcher, _ = await prepare(Path(directory))
        sandbox = await Sandbox.start(
            sandbox_id="egress", directory=Path(directory) / "box", envs={}, limits=Limits(), launcher=launcher
        )
        Egress(sandbox, Gateway(guard=Guard((ipaddress.ip_network("127.0.0.1"),))), Policy())
        figures: list[tuple[float, float, float, float]] = []
        for _ in range(rounds):
            through = await _inside(sandbox, port)
            ran = await asyncio.to_thread(
                subprocess.run, [sys.executable, *_arguments(port, 0)], check=True, capture_output=True, text=True
            )
            figures.append((*through, *_read(ran.stdout)))
        await sandbox.kill()
        launcher.close()
    fast, short, fast_direct, short_direct = (statistics.median(column) for column in zip(*figures, strict=True))
    print(f"MiB a second:    {fast:8.0f} through the proxy {fast_direct:8.0f} direct   ratio {fast / fast_direct:.2f}")
    print(
        f"ms a connection: {short:8.2f} through the proxy {short_direct:8.2f} direct   ratio {short / short_direct:.1f}"
    )


def main() -> None:
    """Measures, and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(MEBIBYTES)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        asyncio.run(_measure(rounds, int(server.stdout.readline())))
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
