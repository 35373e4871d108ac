"""The internet itself, by the programs that people use, from a server as they get it; where this machine has one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from e2b import CommandExitException, Sandbox, SandboxNetworkRule

from e2b_magic.embedded import runtime
from e2b_magic.exceptions import ContainmentError
from tests.registries import host_of, npm_registry, python_hosts, python_index

pytestmark = [pytest.mark.network, pytest.mark.slow]

PYPI, NPM, GITHUB = f"{python_index()}six/", f"{npm_registry()}is-number", "https://github.com/"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Gives a sandbox of a server with the gateway that users have."""
    directory = tmp_path_factory.mktemp("registries") / "embedded"
    try:
        endpoint = runtime.ensure(directory)
    except ContainmentError as error:
        pytest.skip(str(error))
    try:
        yield Sandbox.create(
            api_key=endpoint.api_key, api_url=endpoint.url, sandbox_url=endpoint.url, domain="localhost", debug=False
        )
    finally:
        runtime.stop(directory)


def _has(sandbox: Sandbox, program: str) -> None:
    if sandbox.commands.run(f"command -v {program} || true").stdout == "":
        pytest.skip(f"the host's /usr has no {program}")


def test_pip_installs(sandbox: Sandbox, need: Callable[[str], None]) -> None:
    """`pip install` fetches a package from PyPI, and it can be imported."""
    need(PYPI)
    sandbox.commands.run("python3 -m venv /tmp/venv && /tmp/venv/bin/pip install --quiet six", timeout=100)
    assert sandbox.commands.run("/tmp/venv/bin/python -c 'import six; print(six.__name__)'").stdout == "six\n"


def test_npm_installs(sandbox: Sandbox, need: Callable[[str], None]) -> None:
    """`npm install` fetches a package from the npm registry, and it can be used."""
    need(NPM)
    _has(sandbox, "npm")
    sandbox.commands.run("mkdir -p p && cd p && npm install --no-fund --no-audit is-number", timeout=100)
    assert sandbox.commands.run("cd p && node -e 'console.log(require(\"is-number\")(1))'").stdout == "true\n"


def test_git_clones(sandbox: Sandbox, need: Callable[[str], None]) -> None:
    """`git clone` over https fetches a repository."""
    need(GITHUB)
    _has(sandbox, "git")
    sandbox.commands.run("git clone --quiet --depth 1 https://github.com/octocat/Hello-World hello", timeout=100)
    assert "README" in sandbox.commands.run("ls hello").stdout


def test_rules_hold_for_pip_and_npm_too(sandbox: Sandbox, need: Callable[[str], None]) -> None:
    """With a rule for the registries the server stands in for them; pip and npm trust it, whatever their settings."""
    need(PYPI)
    need(NPM)
    _has(sandbox, "npm")
    rule: list[SandboxNetworkRule] = [{"transform": {"headers": {"X-Canary": "1"}}}]
    sandbox.update_network({"rules": dict.fromkeys([*python_hosts(), host_of(NPM)], rule)})
    try:
        issuer = sandbox.commands.run(f"curl -sv -o /dev/null {NPM} 2>&1 | grep -i issuer").stdout
        assert "this machine's embedded server" in issuer
        sandbox.commands.run("mkdir -p r && cd r && npm install --no-fund --no-audit is-number", timeout=100)
        environment = "[ -x /tmp/venv/bin/pip ] || python3 -m venv /tmp/venv"
        sandbox.commands.run(f"{environment}; /tmp/venv/bin/pip download --quiet --no-deps -d r six", timeout=100)
    finally:
        sandbox.update_network({})


def test_only_what_is_allowed_is_fetched(sandbox: Sandbox, need: Callable[[str], None]) -> None:
    """With PyPI alone allowed, PyPI answers and the npm registry does not, until it is allowed too."""
    need(PYPI)
    need(NPM)
    rest = host_of(NPM).partition(".")[2]
    fetch = "curl -sS -o /dev/null -w '%{http_code}' --max-time 30 "
    sandbox.update_network({"allow_out": python_hosts(), "deny_out": ["0.0.0.0/0"]})
    try:
        assert sandbox.commands.run(fetch + PYPI).stdout == "200"
        with pytest.raises(CommandExitException, match="403"):
            sandbox.commands.run(fetch + NPM)
        sandbox.update_network({"allow_out": [f"*.{rest}"], "deny_out": ["0.0.0.0/0"]})
        assert sandbox.commands.run(fetch + NPM).stdout == "200"
    finally:
        sandbox.update_network({})
