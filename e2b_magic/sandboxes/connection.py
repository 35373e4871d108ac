"""Which E2B is meant, and what the SDK must be told to reach it."""

from __future__ import annotations

import asyncio
import os
import select
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from e2b import AsyncSandbox

from e2b_magic.config import EMBEDDED, ApiKey, Configuration
from e2b_magic.exceptions import ConfigurationError, EmbeddedServerError

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
        process: A descriptor of the embedded server's process (pidfd_open(2)); None for any other server.
    """

    backend: str
    api_key: ApiKey
    domain: str
    api_url: str | None = None
    sandbox_url: str | None = None
    process: int | None = None

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

    def port_url(self, sandbox: AsyncSandbox, port: int) -> str:
        """Gives where a port of a sandbox is reached from a browser, an origin of its own.

        The SDK's `get_host` knows of no `sandbox_url`, so for a server that has one it is built here.
        """
        host = sandbox.get_host(port)
        if self.sandbox_url is None:
            return f"https://{host}/"
        server = urlsplit(self.sandbox_url)
        return f"{server.scheme}://{host}{f':{server.port}' if server.port else ''}/"

    def alive(self) -> bool:
        """Whether the embedded server is still there; true for any other, which cannot be asked so cheaply."""
        if self.process is None:
            return True
        # The descriptor is ready once the process has ended, reaped or not, whoever has its number by then.
        ended = select.poll()
        ended.register(self.process, select.POLLIN)
        return not ended.poll(0)

    def close(self) -> None:
        """Lets go of the server's process; the connection is not used after that."""
        if self.process is not None:
            os.close(self.process)


def _bypass_proxy() -> None:
    """Keeps loopback traffic off an HTTP proxy: the SDK's client obeys HTTP_PROXY even for 127.0.0.1."""
    known = os.environ.get("NO_PROXY", "").split(",") + os.environ.get("no_proxy", "").split(",")
    hosts = dict.fromkeys(host for host in [*known, *_LOOPBACK] if host)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(hosts)


async def connect(configuration: Configuration) -> Connection:
    """Gives the connection that a configuration describes, starting the embedded server when it is the one.

    Raises:
        ConfigurationError: The embedded server's directory cannot be written.
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
    from e2b_magic.embedded.runtime import Endpoint, ensure

    def start() -> Endpoint:
        try:
            return ensure(configuration.directory / "embedded")
        except OSError as error:
            raise ConfigurationError(
                f"The embedded server cannot write to {configuration.directory} ({error.strerror}): set "
                "E2B_MAGIC_DIRECTORY to a directory that it can, or E2B_API_KEY to use E2B's cloud"
            ) from None
        except EmbeddedServerError as error:
            if not isinstance(error.__cause__, OSError):  # then it is not the directory that is at fault
                raise
            raise ConfigurationError(f"{error}, or E2B_API_KEY to use E2B's cloud") from None

    _bypass_proxy()
    endpoint = await asyncio.to_thread(start)
    return Connection(
        backend=EMBEDDED,
        api_key=ApiKey(endpoint.api_key),
        domain="localhost",
        api_url=endpoint.url,
        sandbox_url=endpoint.url,
        process=os.pidfd_open(endpoint.pid),  # not in the thread: who is cancelled would never have it, to close it
    )
