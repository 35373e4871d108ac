"""Where a running server is found: its runtime file.

The file holds the server's address, its API key and who it is: its process id alone would not do, since the kernel
gives it to another process one day. A server that is killed leaves its file behind, which then names no live process.

Whoever can write the file decides where commands and files go. So it is believed only where the directory, the file
and the process are the reader's own, and nobody else may write the first two.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path

from e2b_magic.embedded.directory import is_private, opened, require_private, usable

FILE = "server.json"
# Bytes: five short values take some 300.
_LARGEST = 16384
# What open(2) says of no file, of one for others, of a link, and of a socket.
_NO_FILE = (errno.ENOENT, errno.EACCES, errno.ELOOP, errno.ENXIO)
_URL = re.compile(r"http://127\.0\.0\.1:[0-9]{1,5}")


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


def _is_ours(pid: int) -> bool:
    """Whether a process has our user id as its real one (proc(5), `status`)."""
    try:
        # Not the owner of /proc/<pid>: that is root where a process has made itself undumpable.
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(line.startswith("Uid:") and int(line.split()[1]) == os.getuid() for line in lines)


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
        """Whether its process is still there, and ours."""
        return bool(self.started) and identity(self.pid) == self.started and _is_ours(self.pid)

    @property
    def port(self) -> int:
        """Its TCP port on 127.0.0.1."""
        return int(self.url.rpartition(":")[2])


def read_endpoint(directory: Path) -> Endpoint | None:
    """Gives what a runtime file says, or None where there is none that makes sense and is ours.

    Raises:
        EmbeddedServerError: The directory is another user's, others may write it, or it cannot be used.
    """
    with usable(directory), contextlib.suppress(FileNotFoundError, NotADirectoryError), opened(directory) as above:
        require_private(above, directory)
        return _endpoint(_contents(above))
    return None


def _contents(above: int) -> bytes:
    """Gives what is in the runtime file; nothing where it is no regular file of ours, or larger than any of them."""
    try:
        # Not blocking: a FIFO would wait for someone to write.
        descriptor = os.open(FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=above)
    except OSError as error:
        if error.errno in _NO_FILE:
            return b""
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not is_private(status) or status.st_size > _LARGEST:
            return b""
        return os.read(descriptor, _LARGEST)
    finally:
        os.close(descriptor)


def _endpoint(contents: bytes) -> Endpoint | None:
    try:
        endpoint = Endpoint(**json.loads(contents))
    # The last for JSON nested deeper than the interpreter's stack.
    except (ValueError, TypeError, RecursionError):
        return None
    return endpoint if _makes_sense(endpoint) else None


def _makes_sense(endpoint: Endpoint) -> bool:
    texts = (endpoint.url, endpoint.api_key, endpoint.started, endpoint.version)
    if not all(isinstance(text, str) for text in texts) or type(endpoint.pid) is not int:
        return False
    return _URL.fullmatch(endpoint.url) is not None and 0 < endpoint.pid < 1 << 31


def write_endpoint(directory: Path, endpoint: Endpoint) -> None:
    """Writes the runtime file, whole and readable by its owner alone."""
    temporary = directory / f"{FILE}.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(endpoint), file)
    temporary.replace(directory / FILE)


def remove_endpoint(directory: Path, endpoint: Endpoint) -> None:
    """Removes the runtime file, if it is still this server's."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), opened(directory) as above:
        # Whoever else may write the directory by now: a server that ends has other things to put away.
        if _endpoint(_contents(above)) == endpoint:
            os.unlink(FILE, dir_fd=above)
