"""Configuration from the environment, and the key's mask."""

from __future__ import annotations

import copy
import pickle

import pytest

from e2b_magic.config import EMBEDDED, ApiKey, WorkerToken, from_environment
from e2b_magic.exceptions import ConfigurationError

KEY = "e2b_0123456789abcdef"


def test_without_a_key_the_embedded_server_is_used() -> None:
    """An empty environment means the embedded server."""
    configuration = from_environment({})
    assert configuration.backend == EMBEDDED
    assert configuration.api_key is None


def test_a_key_means_the_cloud() -> None:
    """A key alone means E2B's own domain, and E2B_DOMAIN another."""
    assert from_environment({"E2B_API_KEY": KEY}).backend == "e2b.app"
    assert from_environment({"E2B_API_KEY": KEY, "E2B_DOMAIN": "e2b.example.org"}).backend == "e2b.example.org"


def test_a_url_without_a_key_is_refused() -> None:
    """A self-hosted server's address without its key is a slip, and the message says what to set."""
    with pytest.raises(ConfigurationError, match="E2B_API_KEY is not set"):
        from_environment({"E2B_API_URL": "http://127.0.0.1:3000"})


def test_a_relative_directory_is_refused() -> None:
    """The store must not depend on where the kernel was started."""
    with pytest.raises(ConfigurationError, match="absolute"):
        from_environment({"E2B_MAGIC_DIRECTORY": "here"})


def test_a_key_is_never_shown() -> None:
    """No repr, format or dataclass repr shows the key, nor a part of it."""
    configuration = from_environment({"E2B_API_KEY": KEY})
    for text in (
        repr(configuration.api_key),
        str(configuration.api_key),
        f"{configuration.api_key}",
        repr(configuration),
    ):
        assert "0123" not in text
        assert "cdef" not in text


def test_a_key_cannot_leave_memory() -> None:
    """Pickling a key, or a configuration that holds one, is refused."""
    with pytest.raises(ConfigurationError, match="memory only"):
        pickle.dumps(from_environment({"E2B_API_KEY": KEY}))
    with pytest.raises(ConfigurationError):
        copy.copy(ApiKey(KEY))


@pytest.mark.parametrize("text", ["", "  ", "e2b_\nx", "ключ"])
def test_what_cannot_be_a_key_is_refused(text: str) -> None:
    """A key that is empty or holds what no header may hold is refused at once, and not repeated in the error."""
    with pytest.raises(ConfigurationError) as caught:
        ApiKey(text)
    assert not text.strip() or text.strip() not in str(caught.value)


WORKER = {"E2B_MAGIC_WORKER_URL": "https://hub.example/user/anna/", "E2B_MAGIC_WORKER_TOKEN": "e2bw_sesame"}


def test_a_worker_is_named_by_the_environment() -> None:
    """URL and token make a worker, whose backend is known by the name given, else by the server's."""
    worker = from_environment(WORKER).worker
    assert worker is not None
    assert (worker.url, worker.token) == ("https://hub.example/user/anna/", WorkerToken("e2bw_sesame"))
    assert from_environment(WORKER).backend == "hub.example/user/anna"
    assert from_environment(WORKER | {"E2B_MAGIC_WORKER_BACKEND": "e2b.app"}).backend == "e2b.app"
    assert from_environment(WORKER | {"E2B_MAGIC_WORKER_URL": ""}).worker is None
    assert from_environment({"E2B_MAGIC_USER": "user:anna"}).user == "user:anna"


def test_a_workers_token_is_never_shown() -> None:
    """Neither the configuration's repr nor the token's own shows it, and it cannot be pickled."""
    configuration = from_environment(WORKER)
    assert "sesame" not in repr(configuration)
    assert "sesame" not in f"{configuration.worker}"
    with pytest.raises(ConfigurationError, match="memory only"):
        pickle.dumps(configuration)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"E2B_MAGIC_WORKER_TOKEN": ""}, "E2B_MAGIC_WORKER_TOKEN is not set"),
        ({"E2B_MAGIC_WORKER_URL": "hub.example/user"}, "must be a Jupyter server's"),
        ({"E2B_MAGIC_WORKER_URL": "ftp://hub.example/"}, "must be a Jupyter server's"),
        ({"E2B_MAGIC_WORKER_URL": "https://hub.example:port/"}, "must be a Jupyter server's"),
        ({"E2B_MAGIC_WORKER_URL": "https://[/"}, "must be a Jupyter server's"),
        ({"E2B_MAGIC_WORKER_URL": "https://hub.example/?token=sesame"}, "belongs into E2B_MAGIC_WORKER_TOKEN"),
        ({"E2B_MAGIC_WORKER_URL": "https://sesame@hub.example/"}, "belongs into E2B_MAGIC_WORKER_TOKEN"),
        ({"E2B_MAGIC_WORKER_URL": "http://hub.example/"}, "leads to hub.example in plain http"),
        ({"E2B_MAGIC_WORKER_URL": "http://127.0.0.1.hub.example/"}, "in plain http"),
        ({"E2B_MAGIC_WORKER_URL": "http://10.0.0.7:8888/"}, "in plain http"),
    ],
)
def test_a_worker_that_cannot_be_meant_is_refused(change: dict[str, str], says: str) -> None:
    """A slip in the worker's settings is named in a line, which repeats no token."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        from_environment(WORKER | change)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8888/", "http://localhost/", "http://[::1]:8888/x"])
def test_plain_http_is_for_this_machine(url: str) -> None:
    """Loopback needs no encryption; to another machine only who says so goes without."""
    assert from_environment(WORKER | {"E2B_MAGIC_WORKER_URL": url}).worker is not None
    allowed = {"E2B_MAGIC_WORKER_URL": "http://hub.example/", "E2B_MAGIC_WORKER_ALLOW_HTTP": "1"}
    assert from_environment(WORKER | allowed).worker is not None
