"""The file API and what is no plain file: no content of the host's, no answer that never comes."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from e2b import Sandbox, SandboxException

pytestmark = pytest.mark.sandbox

# Seconds within which an answer must come, so that one that never comes is an error; far more than one takes.
PATIENCE = 30.0


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Gives a file of the host's, and what is in it."""
    path = tmp_path_factory.mktemp("host") / "canary"
    path.write_text(secrets.token_hex(16))
    return path, path.read_text()


@pytest.fixture(scope="module")
def odd(contained: Sandbox, canary: tuple[Path, str]) -> Sandbox:
    """Gives a sandbox with odd files in it."""
    made = [
        f"ln -sfn {canary[0]} /home/user/to-the-host",
        f"ln -sfn {canary[0].parent} /home/user/to-a-folder",
        f"ln -sfn /proc/1/root{canary[0]} /home/user/by-the-agent",
        "ln -sfn /proc/self/environ /home/user/to-proc",
        "rm -f fifo socket; mkfifo fifo; python3 -c \"import socket; socket.socket(1).bind('socket')\"",
    ]
    contained.commands.run("; ".join(made))
    return contained


PATHS = [
    *("to-the-host", "to-a-folder/canary", "by-the-agent", "fifo", "socket"),
    *("/dev/zero", "/dev/random", "/dev/tty", "/proc/1/environ", "/proc/1/mem", "/proc/kmsg", "/etc/shadow"),
]


@pytest.mark.parametrize("path", PATHS)
def test_it_is_not_read(path: str, odd: Sandbox, canary: tuple[Path, str]) -> None:
    """A link to the host, a FIFO, a device, a door of the kernel's: each is refused, and at once."""
    with pytest.raises(SandboxException) as raised:
        odd.files.read(path, request_timeout=PATIENCE)
    assert canary[1] not in str(raised.value)
    assert "timed out" not in str(raised.value)


@pytest.mark.parametrize("path", [path for path in PATHS if path.startswith("/") or path in ("fifo", "socket")])
def test_it_is_not_written(path: str, odd: Sandbox) -> None:
    """Nor is one of them written."""
    with pytest.raises(SandboxException) as raised:
        odd.files.write(path, "x", request_timeout=PATIENCE)
    assert "timed out" not in str(raised.value)


def test_links_that_lead_out_are_followed_inside(odd: Sandbox, canary: tuple[Path, str]) -> None:
    """What is written by way of a link lands in the sandbox, or nowhere; the host's file stays as it was."""
    assert not odd.files.exists("to-a-folder/canary")
    try:
        odd.files.make_dir(str(canary[0].parent))
    except SandboxException:
        # Nobody may make it there inside, as where the tests' own directory is outside /tmp.
        with pytest.raises(SandboxException):
            odd.files.write("to-the-host", "changed")
    else:
        odd.files.write("to-the-host", "changed")
        assert odd.files.read(str(canary[0])) == "changed"
        odd.files.remove(str(canary[0]))
    assert canary[0].read_text() == canary[1]


def test_the_kernels_files_are_read_as_inside(odd: Sandbox) -> None:
    """What the file API gives of /proc is what a command inside sees."""
    assert odd.files.read("/proc/sys/kernel/hostname") == "sandbox\n"
    assert "PATH=" not in odd.files.read("/proc/self/status")
