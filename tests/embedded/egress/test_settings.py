"""What the user of a machine says of the way out, from the environment to a sandbox, and what `doctor` makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from e2b import Sandbox

from e2b_magic import cli
from e2b_magic.embedded import runtime
from e2b_magic.embedded.egress.doctor import way_out
from e2b_magic.embedded.sandbox.doctor import Level
from e2b_magic.exceptions import EmbeddedServerError

from .conftest import PUBLIC, Listener, Speak


@contextmanager
def _speaking(directory: Path) -> Iterator[Speak]:
    """Speaks to the proxy of a sandbox of a server that is started as any other."""
    endpoint = runtime.ensure(directory)
    url = endpoint.url
    try:
        yield Speak(
            Sandbox.create(api_key=endpoint.api_key, api_url=url, sandbox_url=url, domain="localhost", debug=False)
        )
    finally:
        runtime.stop(directory)


@pytest.mark.sandbox
@pytest.mark.usefixtures("launcher")
def test_a_network_is_admitted_by_the_environment(
    tmp_path: Path, public: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of the machine's is reached when its user says so, and not before."""
    with _speaking(tmp_path / "one") as speak:
        assert speak.connect(PUBLIC, public.port).startswith(b"HTTP/1.1 403 ")
    monkeypatch.setenv("E2B_MAGIC_EGRESS_ADMIT", "10.1.0.0/16, 127.0.1.0/24")
    with _speaking(tmp_path / "two") as speak:
        assert b"hello" in speak.connect(PUBLIC, public.port)
        assert speak.connect("127.0.0.1", public.port).startswith(b"HTTP/1.1 403 ")


@pytest.mark.sandbox
@pytest.mark.usefixtures("launcher")
def test_a_setting_that_cannot_be_read_starts_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip in a setting is said in a line, and no server runs that would take it for another."""
    monkeypatch.setenv("E2B_MAGIC_EGRESS_ADMIT", "everything")
    with pytest.raises(EmbeddedServerError, match="E2B_MAGIC_EGRESS_ADMIT must hold networks"):
        runtime.ensure(tmp_path / "server")


PROXY = {"HTTPS_PROXY": "http://me:canary@proxy.test:3128"}


@pytest.mark.parametrize(
    ("environment", "level", "line"),
    [
        ({}, Level.GOOD, "straight to the internet; not to this machine"),
        ({"E2B_MAGIC_EGRESS_ADMIT": "10.1.0.0/16"}, Level.LESS, "straight to the internet, and to 10.1.0.0/16"),
        ({"E2B_MAGIC_EGRESS_ADMIT": "everything"}, Level.BAD, "must hold networks"),
        (PROXY, Level.GOOD, "by HTTPS_PROXY (proxy.test:3128), which is given addresses"),
        ({**PROXY, "E2B_MAGIC_EGRESS_PROXY_RESOLVES": "1"}, Level.GOOD, "which is given names"),
        ({**PROXY, "E2B_MAGIC_EGRESS_PROXY_RESOLVES": "maybe"}, Level.BAD, "must be 1 or 0"),
        ({"ALL_PROXY": "socks5://me:canary@proxy.test:1080"}, Level.LESS, "HTTPS_PROXY cannot be used"),
    ],
)
def test_the_way_out_is_described(environment: dict[str, str], level: Level, line: str) -> None:
    """A finding says how sandboxes get out, with what follows where it is not as usual, and holds no secret."""
    finding = way_out(environment)
    assert finding.level is level
    assert line in finding.found
    assert "canary" not in repr(finding)
    assert (finding.consequence == "") == (finding.remedy == "") == (level is Level.GOOD)


@pytest.mark.sandbox
@pytest.mark.usefixtures("launcher")
def test_doctor_tells_of_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`e2b-magic doctor` says how sandboxes get out, and fails on a setting with which no server starts."""
    monkeypatch.setenv("E2B_MAGIC_DIRECTORY", str(tmp_path))
    assert cli.main(["doctor"]) == 0
    assert "way out" in capsys.readouterr().out
    monkeypatch.setenv("E2B_MAGIC_EGRESS_ADMIT", "everything")
    assert cli.main(["doctor"]) == 1
    assert "E2B_MAGIC_EGRESS_ADMIT must hold networks" in capsys.readouterr().out
