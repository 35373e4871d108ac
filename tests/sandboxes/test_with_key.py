"""With a key the very same road leads to another E2B. An embedded server, asked as one, stands in for it."""

from __future__ import annotations

import io
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2b_magic.client import Client
from e2b_magic.config import Configuration, from_environment
from e2b_magic.embedded import runtime
from e2b_magic.embedded.endpoint import Endpoint
from e2b_magic.exceptions import AuthenticationError, ConfigurationError, E2BMagicError, SandboxUnreachableError
from e2b_magic.worker.protocol import Event, Progress

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """Gives an E2B server that is not the client's own."""
    directory = tmp_path_factory.mktemp("elsewhere")
    yield runtime.ensure(directory)
    runtime.stop(directory)


def _environment(elsewhere: Endpoint, tmp_path: Path, **more: str) -> dict[str, str]:
    return {
        "E2B_API_KEY": elsewhere.api_key,
        "E2B_API_URL": elsewhere.url,
        "E2B_SANDBOX_URL": elsewhere.url,
        "E2B_MAGIC_DIRECTORY": str(tmp_path / "e2b-magic"),
        **more,
    }


@pytest.fixture
def configuration(elsewhere: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configuration:
    """Gives the configuration that a key and an address in the environment make."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return from_environment(_environment(elsewhere, tmp_path))


@pytest.fixture
def client(configuration: Configuration) -> Iterator[Client]:
    """Gives a client with a key."""
    client = Client(configuration)
    yield client
    client.kill_sandbox()
    client.close()


def test_the_key_decides_where_commands_run(client: Client, configuration: Configuration, elsewhere: Endpoint) -> None:
    """With a key set commands, files and the cache work on that E2B, and no server is started here."""
    result = client.execute_command("echo $((6*7))")
    assert (result.stdout, result.backend) == ("42\n", elsewhere.url)
    assert client.execute_command("echo $((6*7))").cached
    client.write_file("note", "hello")
    assert client.read_text("note") == "hello"
    assert client.get_sandbox_status().state == "running"
    assert not (configuration.directory / "embedded").exists()


def test_another_backend_has_other_results(client: Client, configuration: Configuration, tmp_path: Path) -> None:
    """A result from one backend does not answer on another, and each backend has a sandbox of its own."""
    first = client.execute_command("echo same")
    local = Client(configuration.with_key(None))
    try:
        second = local.execute_command("echo same")
        assert not second.cached
        assert second.sandbox_id != first.sandbox_id
        assert second.backend == "embedded"
    finally:
        local.close()
        runtime.stop(configuration.directory / "embedded")


def test_a_wrong_key_is_named(elsewhere: Endpoint, tmp_path: Path) -> None:
    """A key that the server refuses gives one line that says so, and does not repeat the key."""
    client = Client(from_environment(_environment(elsewhere, tmp_path, E2B_API_KEY="e2b_00c0ffee")))
    with pytest.raises(AuthenticationError, match="refused the API key") as caught:
        client.execute_command("true")
    client.close()
    assert "c0ffee" not in str(caught.value)


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    """An address where nothing listens gives a typed error and an error record."""
    nowhere = {"E2B_API_URL": "http://127.0.0.1:9", "E2B_SANDBOX_URL": "http://127.0.0.1:9", "E2B_API_KEY": "e2b_00"}
    client = Client(from_environment({**nowhere, "E2B_MAGIC_DIRECTORY": str(tmp_path)}))
    with pytest.raises(SandboxUnreachableError, match="E2B_API_URL is set, check that") as caught:
        client.execute_command("true")
    assert caught.value.result is not None
    assert caught.value.result.error == str(caught.value)
    client.close()


def test_a_home_that_cannot_be_written_costs_no_result(elsewhere: Endpoint, tmp_path: Path) -> None:
    """Where nothing can be stored a command still runs, and "not saved" is said once."""
    (tmp_path / "file").write_text("")
    nowhere = str(tmp_path / "file" / "e2b-magic")
    client = Client(from_environment(_environment(elsewhere, tmp_path, E2B_MAGIC_DIRECTORY=nowhere)))
    said: list[Event] = []
    try:
        results = [client.execute_command("echo hello", on_event=said.append) for _ in range(2)]
        assert [result.stdout for result in results] == ["hello\n", "hello\n"]
        assert len([event for event in said if isinstance(event, Progress)]) == 1
    finally:
        client.kill_sandbox()
        client.close()


def test_without_a_key_that_is_named(tmp_path: Path) -> None:
    """The embedded server needs a directory: where it can have none, the error names it and the ways out."""
    (tmp_path / "file").write_text("")
    client = Client(from_environment({"E2B_MAGIC_DIRECTORY": str(tmp_path / "file" / "e2b-magic")}))
    with pytest.raises(ConfigurationError, match=r"cannot use .*E2B_MAGIC_DIRECTORY .*E2B_API_KEY"):
        client.execute_command("true")
    client.close()


def _verbose(error: BaseException) -> str:
    text = io.StringIO()
    text.writelines(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    return text.getvalue()


def test_the_key_is_nowhere(client: Client, configuration: Configuration, elsewhere: Endpoint) -> None:
    """After success, failure and logout the key stands in no file, record, repr, pickle or verbose traceback."""
    client.execute_command("echo $E2B_API_KEY; env", envs={"TOKEN": "canary-value"})
    errors: list[E2BMagicError] = []
    for wrong in (lambda: client.read_file("missing"), lambda: client.execute_command("true", template="missing")):
        with pytest.raises(E2BMagicError) as caught:
            wrong()
        errors.append(caught.value)
    texts = [repr(client), repr(client.configuration), repr(client.get_execution_history())]
    texts += [_verbose(error) for error in errors]
    client.store.close()
    for file in configuration.directory.rglob("*"):
        if file.is_file():
            texts.append(file.read_bytes().decode("latin-1"))
    assert not [text for text in texts if elsewhere.api_key in text]
    values: list[Any] = [client.configuration, client.configuration.api_key]
    for value in values:
        with pytest.raises(ConfigurationError):
            pickle.dumps(value)


def test_logging_in_and_out_moves_the_work(client: Client, configuration: Configuration, elsewhere: Endpoint) -> None:
    """After `logout` commands run on the embedded server, after `login` with the key they run elsewhere again."""
    client.logout()
    try:
        assert client.execute_command("echo here").backend == "embedded"
    finally:
        runtime.stop(configuration.directory / "embedded")
    client.login(elsewhere.api_key)
    assert client.execute_command("echo there").backend == elsewhere.url
