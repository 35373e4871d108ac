"""What the tests of sandboxes share: one launcher for all, a sandbox for each test, and a way to run things in it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.containment.removal import remove_state
from e2b_magic.embedded.sandbox.preflight import Report, prepare
from e2b_magic.embedded.sandbox.sandbox import ExitStatus, Sandbox
from e2b_magic.exceptions import ContainmentError


@pytest.fixture(scope="session", autouse=True)
def _no_proxy() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        # The SDK's client would send even loopback traffic through a proxy.
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"])))
        yield


@dataclass(frozen=True)
class Ran:
    """What a process did."""

    status: ExitStatus
    out: str
    error: str


async def drain(descriptor: int) -> bytes:
    """Reads a non-blocking descriptor to its end."""
    loop = asyncio.get_running_loop()
    parts: list[bytes] = []
    ended: asyncio.Future[None] = loop.create_future()

    def read() -> None:
        try:
            part = os.read(descriptor, 65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            part = b""
        parts.append(part)
        if not part:
            loop.remove_reader(descriptor)
            ended.set_result(None)

    loop.add_reader(descriptor, read)
    await ended
    return b"".join(parts)


class Run(Protocol):
    """Runs a program in a sandbox to its end."""

    async def __call__(
        self,
        sandbox: Sandbox,
        *argv: str,
        user: str = "user",
        cwd: str | None = None,
        envs: dict[str, str] | None = None,
    ) -> Ran:
        """Gives what it did; one argument alone is a bash script."""


async def _run(
    sandbox: Sandbox, *argv: str, user: str = "user", cwd: str | None = None, envs: dict[str, str] | None = None
) -> Ran:
    words = ["/bin/bash", "-c", *argv] if len(argv) == 1 else list(argv)
    process = await sandbox.spawn(argv=words, envs=envs or {}, cwd=cwd, user=user, stdin=False)
    try:
        out, error = await asyncio.gather(drain(process.stdout), drain(process.stderr))
        return Ran(await process.exited, out.decode(errors="replace"), error.decode(errors="replace"))
    finally:
        process.close()


@pytest.fixture
def run() -> Run:
    """Gives the function that runs a program in a sandbox."""
    return _run


@pytest.fixture
def read() -> Callable[[int], Awaitable[bytes]]:
    """Gives the function that reads a descriptor to its end."""
    return drain


@pytest.fixture(scope="session")
def need() -> Callable[[str], None]:
    """Gives a function that skips a test where an address of the internet does not answer."""

    def answers(url: str) -> None:
        try:
            with contextlib.closing(urllib.request.urlopen(url, timeout=10)):
                return
        except OSError as error:  # URLError is one
            pytest.skip(f"{url} does not answer on this machine: {error}")

    return answers


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Launcher, Report]]:
    """Gives the launcher that a daemon on this machine would have, and what it knows of the machine."""
    try:
        launcher, report = asyncio.run(prepare(tmp_path_factory.mktemp("preflight")))
    except ContainmentError as error:
        pytest.skip(f"this machine cannot contain a sandbox: {error}")
    yield launcher, report
    launcher.close()


@pytest.fixture
def launcher(prepared: tuple[Launcher, Report]) -> Launcher:
    """Gives the run's launcher."""
    return prepared[0]


@pytest.fixture
def report(prepared: tuple[Launcher, Report]) -> Report:
    """Gives what the preflight found."""
    return prepared[1]


Start = Callable[..., Awaitable[Sandbox]]


@pytest.fixture
async def start(launcher: Launcher, tmp_path: Path) -> AsyncIterator[Start]:
    """Gives a function that starts sandboxes, which end with the test."""
    started: list[Sandbox] = []

    async def starting(
        limits: Limits = Limits(),  # noqa: B008 - frozen
        envs: dict[str, str] | None = None,
        *,
        by: Launcher = launcher,
        directory: Path | None = None,
    ) -> Sandbox:
        name = f"box-{len(started)}"
        sandbox = await Sandbox.start(
            sandbox_id=name, directory=directory or tmp_path / name, envs=envs or {}, limits=limits, launcher=by
        )
        started.append(sandbox)
        return sandbox

    yield starting
    for sandbox in started:
        await sandbox.kill()
        remove_state(sandbox.directory)  # which may be deeper than what pytest can remove


@pytest.fixture
async def sandbox(start: Start) -> Sandbox:
    """Gives a sandbox."""
    return await start()


@pytest.fixture
def unguarded(report: Report) -> Iterator[Callable[..., Launcher]]:
    """Gives a function that makes a launcher which leaves guards out."""
    launchers: list[Launcher] = []

    def make(*guards: str) -> Launcher:
        launchers.append(Launcher(report.bubblewrap, overlay=report.overlay, without=frozenset(guards)))
        return launchers[-1]

    yield make
    for one in launchers:
        one.close()
