"""Where a running server is found: its runtime file.

The file holds the server's address, its API key and who it is: its process id alone would not do, since the kernel
gives it to another process one day. A server that is killed leaves its file behind, which then names no live process.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

_FILE = "server.json"


def identity(pid: int) -> str | None:
    """Gives what tells a process from every other that had or will have its id; None where there is no such process.

    It is the time of its start, in clock ticks since the machine's (proc(5), field 22), with the id of that start.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A zombie has ended; only its parent's interest in it has not.
    return None if fields[0] in ("Z", "X") else f"{boot}/{fields[19]}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that can be reached.

    Attributes:
        url: Its address, for the control routes and for the sandboxes alike.
        api_key: Its API key.
        pid: Its process id.
        started: Tells its process from others that had the same id.
        version: The version of the package that it runs.
    """

    url: str
    api_key: str = field(repr=False)
    pid: int
    started: str = ""
    version: str = ""

    @property
    def alive(self) -> bool:
        """Whether its process is still there."""
        return bool(self.started) and identity(self.pid) == self.started

    @property
    def port(self) -> int:
        """Its TCP port on 127.0.0.1."""
        return int(self.url.rpartition(":")[2])


def read_endpoint(directory: Path) -> Endpoint | None:
    """Gives what a runtime file says, or None where there is none or it cannot be read."""
    try:
        endpoint = Endpoint(**json.loads((directory / _FILE).read_bytes()))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None
    return endpoint


def write_endpoint(directory: Path, endpoint: Endpoint) -> None:
    """Writes the runtime file, whole and readable by its owner alone."""
    temporary = directory / f"{_FILE}.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(endpoint), file)
    temporary.replace(directory / _FILE)


def remove_endpoint(directory: Path, endpoint: Endpoint) -> None:
    """Removes the runtime file, if it is still this server's."""
    if read_endpoint(directory) == endpoint:
        with contextlib.suppress(FileNotFoundError):
            (directory / _FILE).unlink()
