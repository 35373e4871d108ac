"""The server as its users see it: there when it is needed, and found by everyone who asks.

`ensure` gives the running server's address or starts one, under a lock, so that however many ask at the same moment
get the same. The server is a process of its own session, which a Ctrl-C in the terminal or notebook that started it
does not reach. How its start went comes back through a pipe; a failure is raised here as it was raised there.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import e2b_magic
from e2b_magic.embedded.directory import make_directory, require_files, usable
from e2b_magic.embedded.endpoint import FILE, Endpoint, read_endpoint
from e2b_magic.embedded.settings import SETTINGS
from e2b_magic.exceptions import ContainmentError, EmbeddedServerError

__all__ = ["DEFAULT_IDLE_TIMEOUT", "Endpoint", "Status", "ensure", "status", "stop"]

DEFAULT_IDLE_TIMEOUT = 15 * 60.0
LOG_FILE = "server.log"
_LOCK_FILE = "start.lock"

# Seconds: how long a start may take on a machine that swaps, and a server's answer about itself.
_START_TIMEOUT = 60.0
_ANSWER_TIMEOUT = 5.0
# What the server needs of its starter's environment. The rest, keys included, is kept from it.
_ENVIRONMENT = (
    *("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR", "USER", "XDG_RUNTIME_DIR"),
    # How this machine leaves for the internet, which its sandboxes then do too; and what they may reach of its network.
    *("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"),
    *("E2B_MAGIC_EGRESS_ADMIT", "E2B_MAGIC_EGRESS_PROXY_RESOLVES"),
    *("E2B_MAGIC_TEMPLATES", "XDG_CONFIG_HOME"),
    *(setting.variable for setting in SETTINGS),
)


@dataclass(frozen=True, slots=True)
class Status:
    """What a server says about itself.

    Attributes:
        url: Its address.
        pid: Its process id.
        version: The version of the package that it runs.
        sandboxes: How many sandboxes live in it.
    """

    url: str
    pid: int
    version: str
    sandboxes: int


def ensure(
    directory: Path, *, idle_timeout: float = DEFAULT_IDLE_TIMEOUT, settings: Mapping[str, str] | None = None
) -> Endpoint:
    """Gives a server that answers, starting one if there is none.

    Args:
        directory: Where it keeps its runtime file, its log and its sandboxes; made if need be.
        idle_timeout: Seconds without a sandbox and a request after which a newly started one ends.
        settings: What a newly started one is told, by environment variable (`e2b_magic.embedded.settings`); the
            process's own environment tells the rest.

    Raises:
        ContainmentError: This machine cannot contain a sandbox.
        EmbeddedServerError: It did not start, does not answer, or the directory cannot be used, or is not ours alone.
    """
    if (endpoint := _usable(directory)) is not None:
        return endpoint
    if sys.platform != "linux":
        raise ContainmentError(
            f"The embedded server contains sandboxes by means of Linux, and this is {sys.platform}.",
            "Set E2B_API_KEY to use E2B's cloud, or a Jupyter server on Linux as remote worker.",
        )
    from filelock import FileLock, Timeout

    make_directory(directory)
    require_files(directory, _LOCK_FILE, LOG_FILE, FILE)
    try:
        with usable(directory):
            lock = FileLock(directory / _LOCK_FILE, timeout=_START_TIMEOUT, mode=0o600).acquire()
    except Timeout as error:
        raise EmbeddedServerError(
            f"Another process has been starting the embedded server for {_START_TIMEOUT:.0f} s: see {directory}"
        ) from error
    with lock:
        return _usable(directory) or _start(directory, idle_timeout, settings or {})


def status(directory: Path) -> Status | None:
    """Gives what the running server says about itself, or None where none runs.

    Raises:
        EmbeddedServerError: It does not answer, or the directory is not ours alone.
    """
    endpoint = read_endpoint(directory)
    return _ask(endpoint) if endpoint is not None and endpoint.alive else None


def stop(directory: Path, *, timeout: float = 15.0) -> bool:
    """Ends the running server with all its sandboxes but the paused, and says whether there was one.

    Args:
        directory: As in `ensure`.
        timeout: Seconds it may take to end.

    Raises:
        EmbeddedServerError: It did not end in time, or the directory is not ours alone.
    """
    endpoint = read_endpoint(directory)
    if endpoint is None:
        return False
    try:
        descriptor = os.pidfd_open(endpoint.pid)
    except ProcessLookupError:
        return False
    try:
        # Only now that the descriptor holds the process can its id not pass to another one.
        if not endpoint.alive:
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        if not select.select([descriptor], [], [], timeout)[0]:
            raise EmbeddedServerError(f"The embedded server (process {endpoint.pid}) did not end within {timeout:g} s")
    finally:
        os.close(descriptor)
    return True


def _usable(directory: Path) -> Endpoint | None:
    """Gives the running server, unless there is none, or an idle one of another version, which then is ended."""
    endpoint = read_endpoint(directory)
    if endpoint is None or not endpoint.alive:
        return None
    answer = _ask(endpoint)
    if answer is None:
        return None
    if endpoint.version != e2b_magic.__version__ and not answer.sandboxes:
        stop(directory)
        return None
    return endpoint


def _ask(endpoint: Endpoint) -> Status | None:
    """Asks a server about itself; None when it ends before it answers.

    A socket and four lines of HTTP, where `http.client` would take longer to import than the answer to come.

    Raises:
        EmbeddedServerError: It is there and does not answer.
    """
    request = (
        f"GET /e2b-magic/status HTTP/1.1\r\nHost: 127.0.0.1:{endpoint.port}\r\n"
        f"X-API-Key: {endpoint.api_key}\r\nConnection: close\r\n\r\n"
    )
    try:
        with socket.create_connection(("127.0.0.1", endpoint.port), _ANSWER_TIMEOUT) as connection:
            connection.sendall(request.encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        said = json.loads(body) if head.startswith(b"HTTP/1.1 200 ") else None
    except RecursionError:
        said = None
    except (ConnectionError, ValueError):
        return None
    except TimeoutError as error:
        raise EmbeddedServerError(
            f"The embedded server (process {endpoint.pid}) does not answer: end it with `kill {endpoint.pid}`"
        ) from error
    sandboxes = said.get("sandboxes") if isinstance(said, dict) else None
    if type(sandboxes) is not int:
        raise EmbeddedServerError(f"What answers at {endpoint.url} is not the embedded server")
    return Status(endpoint.url, endpoint.pid, endpoint.version, sandboxes)


def _open_log(directory: Path) -> BinaryIO:
    """Opens the log anew: it tells of one server's life."""
    path = directory / LOG_FILE
    with usable(directory):
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "wb", buffering=0)


def _start(directory: Path, idle_timeout: float, settings: Mapping[str, str]) -> Endpoint:
    reading, writing = os.pipe()
    command = [sys.executable, "-P", "-m", "e2b_magic.embedded", str(directory.absolute())]
    command += ["--idle-timeout", str(idle_timeout), "--report", str(writing)]
    with os.fdopen(reading, "rb") as report, _open_log(directory) as log:
        try:
            # The process started here forks the server and ends, so that nobody has to wait for the server's end.
            subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**{name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}, **settings},
                pass_fds=[writing],
                start_new_session=True,
            )
        finally:
            os.close(writing)
        outcome = _read_report(report)
    return _started(directory, outcome)


def _read_report(report: BinaryIO) -> dict[str, Any]:
    """Gives how the start went; nothing where the server ended, or time did, before it could say."""
    deadline = time.monotonic() + _START_TIMEOUT
    while select.select([report], [], [], max(deadline - time.monotonic(), 0))[0]:
        line = report.readline()
        with contextlib.suppress(ValueError):
            return dict(json.loads(line))
        if not line:
            break
    return {}


def _started(directory: Path, outcome: dict[str, Any]) -> Endpoint:
    if "cause" in outcome:
        raise ContainmentError(outcome["cause"], outcome["remedy"])
    if "error" in outcome:
        raise EmbeddedServerError(f"The embedded server did not start: {outcome['error']}")
    endpoint = read_endpoint(directory)
    if not outcome or endpoint is None:
        raise EmbeddedServerError(f"The embedded server did not start: see {directory / LOG_FILE}")
    return endpoint
