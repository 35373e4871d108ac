"""Which E2B is meant, and what the SDK must be told to reach it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any

from e2b_magic.config import EMBEDDED, ApiKey, Configuration
from e2b_magic.embedded.endpoint import Endpoint

_LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Connection:
    """An E2B server that is there to be used.

    Attributes:
        backend: `embedded`, or the E2B's name.
        api_key: The key it takes.
        domain: The E2B domain.
        api_url: Where its API answers, when the domain does not tell.
        sandbox_url: Where its sandboxes answer, when the domain does not tell.
        endpoint: The embedded server's process and address; None for any other.
    """

    backend: str
    api_key: ApiKey
    domain: str
    api_url: str | None = None
    sandbox_url: str | None = None
    endpoint: Endpoint | None = None

    def options(self) -> dict[str, Any]:
        """Gives the keyword arguments that every call of the SDK takes.

        `debug` is given because E2B_DEBUG in the environment would turn `kill()` into a no-op and every host into
        localhost. `api_url` and `sandbox_url` are deprecated by the SDK and go in its version 3: they are used here
        and nowhere else.
        """
        options = {
            "api_key": self.api_key.reveal(),
            "domain": self.domain,
            "api_url": self.api_url,
            "sandbox_url": self.sandbox_url,
            "debug": False,
        }
        return {name: value for name, value in options.items() if value is not None}

    def alive(self) -> bool:
        """Whether the embedded server is still there; true for any other, which cannot be asked so cheaply."""
        return self.endpoint is None or self.endpoint.alive


def _bypass_proxy() -> None:
    """Keeps loopback traffic off an HTTP proxy: the SDK's client obeys HTTP_PROXY even for 127.0.0.1."""
    for name in ("NO_PROXY", "no_proxy"):
        known = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join(known + [host for host in _LOOPBACK if host not in known])


async def connect(configuration: Configuration) -> Connection:
    """Gives the connection that a configuration describes, starting the embedded server when it is the one.

    Raises:
        ContainmentError: There is no key and this machine cannot contain a sandbox.
        EmbeddedServerError: The embedded server did not start.
    """
    if configuration.api_key is not None:
        return Connection(
            backend=configuration.backend,
            api_key=configuration.api_key,
            domain=configuration.domain,
            api_url=configuration.api_url,
            sandbox_url=configuration.sandbox_url,
        )
    from e2b_magic.embedded.runtime import ensure

    _bypass_proxy()
    endpoint = await asyncio.to_thread(ensure, configuration.directory / "embedded")
    return Connection(
        backend=EMBEDDED,
        api_key=ApiKey(endpoint.api_key),
        domain="localhost",
        api_url=endpoint.url,
        sandbox_url=endpoint.url,
        endpoint=endpoint,
    )
