"""A shell with the magics, over a client whose worker is a fake: real parsing, real store, imagined sandbox."""

from __future__ import annotations

import atexit
import base64
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.lib.pretty import RepresentationPrinter
from traitlets.config import Config

from e2b_magic import magics
from e2b_magic.client import Client, set_shared_client
from e2b_magic.config import EMBEDDED, Configuration, from_environment
from e2b_magic.embedded import runtime
from e2b_magic.exceptions import RemoteFileNotFoundError
from e2b_magic.worker.caller import FakeCaller
from e2b_magic.worker.protocol import Attached, Emit, Output


@dataclass(frozen=True)
class Cell:
    """What a cell left behind."""

    stdout: str
    stderr: str
    value: Any
    error: BaseException | None


class Notebook:
    """Runs cells in a real shell, as a notebook would, and gives what each left behind."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self._run: Any = shell.run_cell  # without annotations in IPython

    def __call__(self, source: str) -> Cell:
        """Runs a cell."""
        with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
            result = self._run(source)
        return Cell(
            stdout.getvalue(), stderr.getvalue(), result.result, result.error_in_exec or result.error_before_exec
        )


def shown_as(value: object) -> str:
    """Gives the text that IPython shows for a value."""
    written = io.StringIO()
    make: Any = RepresentationPrinter
    printer = make(written)
    printer.pretty(value)
    printer.flush()
    return written.getvalue()


class Sandbox:
    """A worker's answers about a sandbox of its own imagination.

    `exit N` exits with N, `complain TEXT` writes to standard error, any other command is echoed. Files are kept.
    """

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    async def execute(self, payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """Answers `execute_command`."""
        await emit(Attached("sandbox1", EMBEDDED, time.time() + 3600, created=True))
        word, _, rest = payload["command"].partition(" ")
        if word == "complain":
            await emit(Output("stderr", f"{rest}\n"))
        else:
            await emit(Output("stdout", f"{payload['command']}\n"))
        return {"exit_code": int(rest) if word == "exit" else 0, "stdout": "", "stderr": "", "truncated": False}

    async def write(self, payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """Answers `write_file`."""
        self.files[payload["path"]] = payload["content"]
        return self._entry(payload["path"])

    async def read(self, payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """Answers `read_file`."""
        if payload["path"] not in self.files:
            raise RemoteFileNotFoundError(f"There is nothing at {payload['path']}")
        content = self.files[payload["path"]].encode("utf-8", "surrogateescape")
        return {**self._entry(payload["path"]), "content": base64.b64encode(content).decode()}

    async def list_files(self, payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """Answers `list_files`."""
        return {"entries": [self._entry(path) for path in self.files]}

    async def remove(self, payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """Answers `remove_file`."""
        entry = self._entry(payload["path"])
        del self.files[payload["path"]]
        return entry

    async def status(self, payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """Answers `sandbox_status`."""
        return {"project": payload["project_id"], "backend": EMBEDDED, "state": "none"}

    async def kill(self, payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
        """Answers `kill_sandbox`."""
        return {"killed": [payload["sandbox_id"]] if payload["sandbox_id"] else []}

    def _entry(self, path: str) -> dict[str, Any]:
        return {
            "name": path.rpartition("/")[2],
            "path": f"/home/user/{path}",
            "type": "file",
            "size": len(self.files[path].encode("utf-8", "surrogateescape")),
        }


@contextmanager
def served_client(directory: Path) -> Iterator[Client]:
    """Gives a client, the magics' own, on an embedded server in a directory; the server ends with the block."""
    client = Client(from_environment({"E2B_MAGIC_DIRECTORY": str(directory)}))
    set_shared_client(client)
    try:
        yield client
    finally:
        set_shared_client(None)
        runtime.stop(directory / "embedded")


@pytest.fixture
def sandbox() -> Sandbox:
    """Gives the imagined sandbox."""
    return Sandbox()


@pytest.fixture
def caller(sandbox: Sandbox) -> FakeCaller:
    """Gives a caller that asks it."""
    return FakeCaller(
        {
            "execute_command": sandbox.execute,
            "write_file": sandbox.write,
            "read_file": sandbox.read,
            "list_files": sandbox.list_files,
            "remove_file": sandbox.remove,
            "sandbox_status": sandbox.status,
            "kill_sandbox": sandbox.kill,
        }
    )


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """Gives a bare IPython shell that leaves nothing behind."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    make: Any = InteractiveShell  # IPython's own annotations stop short of its constructor
    shell = make(config=Config({"HistoryManager": {"enabled": False}}))
    yield shell
    shell.atexit_operations()
    atexit.unregister(shell.atexit_operations)  # it is not to be called twice


@pytest.fixture
def notebook(shell: InteractiveShell, configuration: Configuration, caller: FakeCaller) -> Iterator[Notebook]:
    """Gives a notebook with the magics loaded, over the imagined sandbox."""
    set_shared_client(Client(configuration, caller=caller))
    magics.load(shell)
    yield Notebook(shell)
    magics.unload(shell)
