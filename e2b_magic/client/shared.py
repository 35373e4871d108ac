"""The one client of a kernel, made when it is first asked for."""

from __future__ import annotations

import threading

from e2b_magic.client.client import Client

_lock = threading.Lock()
_client: Client | None = None


def shared_client() -> Client:
    """Gives the process's client, made from the environment at the first call.

    Raises:
        ConfigurationError: The environment's variables contradict each other.
    """
    global _client  # noqa: PLW0603  one client a process is what this module is for
    with _lock:
        if _client is None:
            _client = Client()
        return _client


def set_shared_client(client: Client | None) -> None:
    """Puts another client in its place, or, with None, lets the next call make one; the old one is closed."""
    global _client
    with _lock:
        before, _client = _client, client
    if before is not None and before is not client:
        before.close()
