"""Configuration from the environment, and the key's mask."""

from __future__ import annotations

import copy
import pickle

import pytest

from e2b_magic.config import EMBEDDED, ApiKey, from_environment
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
