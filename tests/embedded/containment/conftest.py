"""What the tests of the containment share: a real server, and servers whose sandboxes lack a guard."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2b import Sandbox

from e2b_magic.embedded import runtime
from e2b_magic.embedded.containment import bubblewrap, identity
from e2b_magic.embedded.containment.bubblewrap import Layout, Rule
from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.sandbox.preflight import Report
from tests.embedded.in_process import InProcess

from .doors import OWN_USER_ID, PRELUDE


def tried(sandbox: Sandbox, probe: str) -> str:
    """Gives the word that a probe prints inside a sandbox."""
    return sandbox.commands.run(f"python3 -c {shlex.quote(PRELUDE + probe)}").stdout.strip()


class Boxes:
    """Servers in this process whose sandboxes lack guards, one for each set of guards.

    Args:
        report: What holds on this machine.
        directory: Where they keep their files.

    Attributes:
        directory: As given.
    """

    def __init__(self, report: Report, directory: Path) -> None:
        self._report = report
        self.directory = directory
        self._servers: dict[object, tuple[InProcess, Launcher]] = {}
        self._sandboxes: dict[frozenset[str], Sandbox] = {}

    def server(self, *guards: str, limits: Limits | None = None) -> InProcess:
        """Gives the server whose sandboxes lack some guards."""
        lacking = frozenset(guards) - {OWN_USER_ID}
        if (lacking, limits) not in self._servers:
            launcher = Launcher(self._report.bubblewrap, overlay=self._report.overlay, without=lacking)
            directory = self.directory / f"server-{len(self._servers)}"
            directory.mkdir()
            self._servers[lacking, limits] = InProcess(launcher, directory, limits=limits), launcher
        return self._servers[lacking, limits][0]

    def new(self, *guards: str, limits: Limits | None = None) -> Sandbox:
        """Gives a new sandbox that lacks some guards."""
        with pytest.MonkeyPatch.context() as patch:
            if OWN_USER_ID in guards:
                patch.setattr(identity, "choose", lambda _: None)
            return Sandbox.create(**self.server(*guards, limits=limits).options)

    def without(self, *guards: str) -> Sandbox:
        """Gives a sandbox that lacks some guards, and that others get too."""
        lacking = frozenset(guards)
        if lacking not in self._sandboxes:
            self._sandboxes[lacking] = self.new(*guards)
        return self._sandboxes[lacking]

    def close(self) -> None:
        """Ends them all."""
        for server, launcher in self._servers.values():
            server.close()
            launcher.close()


@pytest.fixture(scope="module")
def boxes(prepared: tuple[Launcher, Report], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boxes]:
    """Gives sandboxes that lack guards, by the E2B SDK."""
    boxes = Boxes(prepared[1], tmp_path_factory.mktemp("boxes"))
    yield boxes
    boxes.close()


@pytest.fixture(scope="session")
def options(prepared: tuple[Launcher, Report], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Gives what every call of the SDK takes to reach a real server, a process of its own."""
    directory = tmp_path_factory.mktemp("contained") / "embedded"
    endpoint = runtime.ensure(directory)
    url = endpoint.url
    yield {"api_key": endpoint.api_key, "api_url": url, "sandbox_url": url, "domain": "localhost", "debug": False}
    runtime.stop(directory)


@pytest.fixture(scope="session")
def contained(options: dict[str, Any]) -> Sandbox:
    """Gives a sandbox of the real server's, with all its guards."""
    return Sandbox.create(**options, timeout=3600)


@pytest.fixture
def also(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives a function that gives bubblewrap more arguments for the sandboxes started from then on.

    They come before the root is fixed: what they show is there, and what is only not there by itself is no guard.
    """

    def add(*arguments: str, last: bool = False) -> None:
        writable = bubblewrap._writable

        def and_more(layout: Layout) -> Iterator[Rule]:
            rules = list(writable(layout))
            rules.insert(len(rules) - 1 if last else 0, Rule("more", arguments))
            return iter(rules)

        monkeypatch.setattr(bubblewrap, "_writable", and_more)

    return add
