"""The embedded server in the test's own process, whose parts a test may choose, for the unmodified SDK."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import httpx

from e2b_magic.embedded.containment.launcher import Launcher
from e2b_magic.embedded.containment.limits import Limits
from e2b_magic.embedded.egress.gateway import Gateway


class InProcess:
    """The embedded server in this process, on a loop in a thread, with parts of the test's own.

    Args:
        launcher: What starts its sandboxes.
        directory: Where they lie.
        gateway: How they leave the machine; as usual if left out.
        limits: What each may use.

    Attributes:
        options: What every call of the SDK takes to reach it.
    """

    def __init__(
        self, launcher: Launcher, directory: Path, gateway: Gateway | None = None, limits: Limits | None = None
    ) -> None:
        self._arguments = (launcher, directory, gateway or Gateway(), limits or Limits())
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.options: dict[str, Any] = {}
        self._thread.start()
        assert self._up.wait(30)

    async def _serve(self) -> None:
        from e2b_magic.embedded.server.application import Application
        from e2b_magic.embedded.server.connection_bounds import ConnectionBounds
        from e2b_magic.embedded.server.daemon import Server, _listen
        from e2b_magic.embedded.server.sandboxes import Sandboxes
        from e2b_magic.embedded.server.snapshots import Snapshots
        from e2b_magic.embedded.server.tokens import new_api_key

        launcher, directory, gateway, limits = self._arguments
        self.loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        self.sandboxes = Sandboxes(directory, launcher, limits, gateway, Snapshots(directory / "snapshots"))
        key = new_api_key()
        server = Server(Application(self.sandboxes, key), ConnectionBounds(256, 64))
        listening = _listen()
        await server.start(listening)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.options = {"api_key": key, "api_url": url, "sandbox_url": url, "domain": "localhost", "debug": False}
        self._up.set()
        await self._done.wait()
        await self.sandboxes.close()
        await server.stop()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Gives what comes of some work on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def control(self) -> httpx.Client:
        """Gives a plain HTTP client that carries the API key."""
        headers = {"X-API-Key": self.options["api_key"]}
        return httpx.Client(base_url=self.options["api_url"], headers=headers, trust_env=False)

    def close(self) -> None:
        """Ends it, and all its sandboxes."""
        self.loop.call_soon_threadsafe(self._done.set)
        self._thread.join(30)
