"""Where things lie and which E2B is used: read from the environment once, then passed on as one value.

With an API key the E2B cloud (or `E2B_DOMAIN`, `E2B_API_URL`) is used, without one the embedded server. The key
rests in an `ApiKey`, which shows itself masked wherever it might be printed.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from e2b_magic.exceptions import ConfigurationError

EMBEDDED = "embedded"
DEFAULT_DOMAIN = "e2b.app"  # the SDK's own default (e2b.connection_config)
DEFAULT_SPACE = 256 * 1024 * 1024


class ApiKey:
    """An API key that is shown masked; `reveal` gives the text for the one call that needs it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        stripped = text.strip()
        valid = bool(stripped) and stripped.isascii() and stripped.isprintable()
        self._text = stripped if valid else ""
        del text, stripped  # a verbose traceback prints the locals of every frame
        if not valid:
            raise ConfigurationError("The E2B API key is empty or holds characters that no key has")

    def reveal(self) -> str:
        """Gives the key's text."""
        return self._text

    def __repr__(self) -> str:
        # The prefix `e2b_` is the same for every key; the end is never shown, since short keys would be guessable.
        return "ApiKey('e2b_…')" if self._text.startswith("e2b_") else "ApiKey('…')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApiKey) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise ConfigurationError("An API key is kept in memory only: it cannot be pickled")


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything a `Client` is told from outside.

    Attributes:
        directory: Where the store, the locks and the embedded server's sandboxes lie; made 0700.
        user: The namespace in the store and the owner named in a sandbox's metadata.
        api_key: The E2B key, or None for the embedded server.
        domain: The E2B domain.
        api_url: A self-hosted E2B's API, or None.
        sandbox_url: Where a self-hosted E2B's sandboxes answer, or None.
        space: The store's size limit, in bytes.
        use_cache: Whether commands are answered from the store at all.
    """

    directory: Path
    user: str
    api_key: ApiKey | None = None
    domain: str = DEFAULT_DOMAIN
    api_url: str | None = None
    sandbox_url: str | None = None
    space: int = DEFAULT_SPACE
    use_cache: bool = True

    @property
    def backend(self) -> str:
        """`embedded`, or the name of the E2B that the key belongs to."""
        if self.api_key is None:
            return EMBEDDED
        return self.api_url or self.domain

    def with_key(self, api_key: str | None) -> Configuration:
        """Gives the same configuration with another key, or with none."""
        try:
            key = ApiKey(api_key) if api_key is not None else None
        finally:
            del api_key
        return replace(self, api_key=key)


def _directory(environment: Mapping[str, str]) -> Path:
    if chosen := environment.get("E2B_MAGIC_DIRECTORY"):
        directory = Path(chosen).expanduser()
        if not directory.is_absolute():
            raise ConfigurationError(f"E2B_MAGIC_DIRECTORY must be an absolute path, not {chosen!r}")
        return directory
    from platformdirs import user_data_path

    return user_data_path("e2b-magic", appauthor=False)


def _local_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a uid without a passwd entry, as in many containers; KeyError before Python 3.13
        return f"uid-{os.getuid()}"


def from_environment(environment: Mapping[str, str] | None = None) -> Configuration:
    """Gives the configuration that the environment's variables describe.

    Args:
        environment: `E2B_API_KEY`, `E2B_DOMAIN`, `E2B_API_URL`, `E2B_SANDBOX_URL` as the SDK knows them, and
            `E2B_MAGIC_DIRECTORY`; the process's own when left out.

    Raises:
        ConfigurationError: The variables contradict each other.
    """
    environment = os.environ if environment is None else environment
    key = environment.get("E2B_API_KEY")
    api_url = environment.get("E2B_API_URL") or None
    if api_url and not key:
        raise ConfigurationError(
            "E2B_API_URL names an E2B server but E2B_API_KEY is not set: set the key too, "
            "or unset E2B_API_URL to use the embedded server"
        )
    return Configuration(
        directory=_directory(environment),
        user=_local_user(),
        api_key=ApiKey(key) if key else None,
        domain=environment.get("E2B_DOMAIN") or DEFAULT_DOMAIN,
        api_url=api_url,
        sandbox_url=environment.get("E2B_SANDBOX_URL") or None,
    )
