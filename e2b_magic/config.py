"""Where things lie and which E2B is used: read from the environment once, then passed on as one value.

With an API key the E2B cloud (or `E2B_DOMAIN`, `E2B_API_URL`) is used, without one the embedded server; with a
`Worker`, whatever the Jupyter server uses that the worker runs in. A key rests in an `ApiKey`, a worker's token in a
`WorkerToken`, which show themselves masked wherever they might be printed.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NoReturn

from e2b_magic.exceptions import ConfigurationError

EMBEDDED = "embedded"
DEFAULT_DOMAIN = "e2b.app"  # the SDK's own default (e2b.connection_config)
DEFAULT_SPACE = 256 * 1024 * 1024


class Secret:
    """A secret that is shown masked; `reveal` gives the text for the one call that needs it."""

    __slots__ = ("_text",)
    what: ClassVar[str]
    mask: ClassVar[str]

    def __init__(self, text: str) -> None:
        stripped = text.strip()
        valid = bool(stripped) and stripped.isascii() and stripped.isprintable()
        self._text = stripped if valid else ""
        del text, stripped  # a verbose traceback prints the locals of every frame
        if not valid:
            raise ConfigurationError(f"The {self.what} is empty or holds characters that no {self.what} has")

    def reveal(self) -> str:
        """Gives the secret's text."""
        return self._text

    def __repr__(self) -> str:
        # The prefix is the same for every secret of a kind; the end is never shown: short ones would be guessable.
        shown = self.mask if self._text.startswith(self.mask) else ""
        return f"{type(self).__name__}('{shown}…')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise ConfigurationError(f"An {self.what} is kept in memory only: it cannot be pickled")


class ApiKey(Secret):
    """An E2B API key."""

    __slots__ = ()
    what = "E2B API key"
    mask = "e2b_"


class WorkerToken(Secret):
    """What opens the worker's routes of a Jupyter server: a token of the server's own, or one it gave this kernel."""

    __slots__ = ()
    what = "e2b-magic worker token"
    mask = "e2bw_"


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker behind a Jupyter server.

    Attributes:
        url: The Jupyter server's address, its base URL included.
        token: What opens the worker's routes.
        backend: The E2B that it uses, as far as is known here: a name for records, and for what may be cached.
        allow_plain_http: Whether the way to another machine may be unencrypted.
    """

    url: str
    token: WorkerToken
    backend: str = ""
    allow_plain_http: bool = False

    def __post_init__(self) -> None:
        # Imported here: whoever has no worker does not pay for them.
        import ipaddress
        from urllib.parse import urlsplit

        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            parts, host = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not host:
            raise ConfigurationError("The worker's URL must be a Jupyter server's, as in https://example.org/user/me/")
        if parts.username is not None or parts.query or parts.fragment:
            # Not repeated: what stands there may be a token.
            raise ConfigurationError(
                "The worker's URL must end with the server's path: a token belongs into E2B_MAGIC_WORKER_TOKEN"
            )
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = host == "localhost"
        if parts.scheme == "http" and not loopback and not self.allow_plain_http:
            raise ConfigurationError(
                f"The worker's URL leads to {host} in plain http, for all on the way to read: use https, or, where "
                "the network between is to be trusted, set E2B_MAGIC_WORKER_ALLOW_HTTP=1"
            )
        object.__setattr__(self, "backend", self.backend or parts.netloc + parts.path.rstrip("/"))


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
        template: What the sandbox of a new project is made from.
        worker: The Jupyter server that does the work, or None to do it in this process.
        sandbox_limit: How many sandboxes the user may have at once, or None for no limit.
        shared: Whether the key serves several users: then only a sandbox that carries a user's name is that user's.
        preview_route: Where a Jupyter server shows what sandboxes serve, when a browser cannot reach their own origins.
    """

    directory: Path
    user: str
    api_key: ApiKey | None = None
    domain: str = DEFAULT_DOMAIN
    api_url: str | None = None
    sandbox_url: str | None = None
    space: int = DEFAULT_SPACE
    use_cache: bool = True
    template: str = "base"
    worker: Worker | None = None
    sandbox_limit: int | None = None
    shared: bool = False
    preview_route: str | None = None

    @property
    def backend(self) -> str:
        """`embedded`, the name of the E2B that the key belongs to, or of the one that the worker uses."""
        if self.api_key is not None:
            return self.api_url or self.domain
        return EMBEDDED if self.worker is None else self.worker.backend

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


def _worker(environment: Mapping[str, str]) -> Worker | None:
    url = environment.get("E2B_MAGIC_WORKER_URL")
    if not url:
        return None
    token = environment.get("E2B_MAGIC_WORKER_TOKEN")
    if not token:
        raise ConfigurationError(
            "E2B_MAGIC_WORKER_URL names a worker but E2B_MAGIC_WORKER_TOKEN is not set: set it to a token of that "
            "Jupyter server, or unset the URL to do the work in this process"
        )
    return Worker(
        url=url,
        token=WorkerToken(token),
        backend=environment.get("E2B_MAGIC_WORKER_BACKEND", ""),
        allow_plain_http=environment.get("E2B_MAGIC_WORKER_ALLOW_HTTP") == "1",
    )


def from_environment(environment: Mapping[str, str] | None = None) -> Configuration:
    """Gives the configuration that the environment's variables describe.

    Args:
        environment: `E2B_API_KEY`, `E2B_DOMAIN`, `E2B_API_URL`, `E2B_SANDBOX_URL` as the SDK knows them,
            `E2B_MAGIC_DIRECTORY`, `E2B_MAGIC_USER`, and `E2B_MAGIC_WORKER_URL`, `…_TOKEN`, `…_BACKEND`,
            `…_ALLOW_HTTP` for a `Worker`; the process's own when left out.

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
        user=environment.get("E2B_MAGIC_USER") or _local_user(),
        api_key=ApiKey(key) if key else None,
        domain=environment.get("E2B_DOMAIN") or DEFAULT_DOMAIN,
        api_url=api_url,
        sandbox_url=environment.get("E2B_SANDBOX_URL") or None,
        template=environment.get("E2B_MAGIC_TEMPLATE") or "base",
        worker=_worker(environment),
    )
