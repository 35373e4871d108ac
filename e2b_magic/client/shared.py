"""The one client of a kernel, made when it is first asked for."""

from __future__ import annotations

import threading

from e2b_magic.client.client import Client
from e2b_magic.interrupts import deferred
from e2b_magic.worker.requests.base import check_project_name

_lock = threading.Lock()
_client: Client | None = None
_project: str | None = None
_template: str | None = None


def shared_client() -> Client:
    """Gives the process's client, made from the environment at the first call.

    Raises:
        ConfigurationError: The environment's variables contradict each other.
    """
    global _client  # noqa: PLW0603  one client a process is what this module is for
    client = _client
    if client is not None:
        return client
    with deferred(), _lock:
        if _client is None:
            client = Client()
            if _project is not None:
                client.use_project(_project)
            if _template is not None:
                client.use_template(_template)
            _client = client
        return _client


def current_client() -> Client | None:
    """Gives the process's client, should there be one already."""
    return _client


def choose_project(name: str) -> None:
    """Makes a project the current one of the process's client: of the one there is, or of the one yet to be made.

    Raises:
        InvalidRequestError: Its name cannot name a project.
    """
    global _project  # noqa: PLW0603  see above
    with _lock:
        _project = check_project_name(name)
        if _client is not None:
            _client.use_project(name)


def choose_template(name: str) -> None:
    """Has the process's client, now or once it is made, make new projects' sandboxes from a template.

    Raises:
        InvalidRequestError: The name is empty.
    """
    global _template  # noqa: PLW0603  see above
    with _lock:
        _template = name
        if _client is not None:
            _client.use_template(name)


def set_shared_client(client: Client | None) -> None:
    """Puts another client in its place, or, with None, lets the next call make one; the old one is closed."""
    global _client
    with _lock:
        before, _client = _client, client
    if before is not None and before is not client:
        before.close()
