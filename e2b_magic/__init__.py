"""E2B sandboxes in Jupyter: run commands and untrusted code from a notebook, isolated, with or without an E2B key.

In a notebook, `%load_ext e2b_magic` brings `%e2b`, `%%e2b` and `%%e2b_file`. From Python, `Client` has the same verbs.
This module imports next to nothing until a name is asked for, so that loading the extension costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from e2b_magic.interrupts import deferred

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from e2b_magic.client import Client, shared_client
    from e2b_magic.client.executor import Executor
    from e2b_magic.config import Configuration
    from e2b_magic.exceptions import E2BMagicError
    from e2b_magic.panels import FilesPanel, HistoryPanel, Panel, RunPanel, SandboxPanel, ServerPanel, SettingsPanel
    from e2b_magic.records import (
        BackgroundJob,
        ExecutionResult,
        FileEntry,
        JobState,
        Preview,
        Project,
        SandboxMetrics,
        SandboxState,
        Snapshot,
        Status,
        TransferResult,
    )

__version__ = "0.1.0.dev0"

__all__ = [
    "BackgroundJob",
    "Client",
    "Configuration",
    "E2BMagicError",
    "ExecutionResult",
    "Executor",
    "FileEntry",
    "FilesPanel",
    "HistoryPanel",
    "JobState",
    "Panel",
    "Preview",
    "Project",
    "RunPanel",
    "SandboxMetrics",
    "SandboxPanel",
    "SandboxState",
    "ServerPanel",
    "SettingsPanel",
    "Snapshot",
    "Status",
    "TransferResult",
    "load_ipython_extension",
    "shared_client",
    "unload_ipython_extension",
]

_HOMES = {
    "BackgroundJob": "records",
    "JobState": "records",
    "Preview": "records",
    "Client": "client",
    "Configuration": "config",
    "E2BMagicError": "exceptions",
    "ExecutionResult": "records",
    "Executor": "client.executor",
    "FileEntry": "records",
    "FilesPanel": "panels",
    "HistoryPanel": "panels",
    "Panel": "panels",
    "Project": "records",
    "RunPanel": "panels",
    "SandboxMetrics": "records",
    "SandboxPanel": "panels",
    "SandboxState": "records",
    "ServerPanel": "panels",
    "SettingsPanel": "panels",
    "Snapshot": "records",
    "Status": "records",
    "TransferResult": "records",
    "shared_client": "client",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'e2b_magic' has no attribute {name!r}")
    with deferred():
        return getattr(import_module(f"e2b_magic.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Brings the magics; IPython calls this on `%load_ext e2b_magic`."""
    with deferred():
        from e2b_magic import magics

        magics.load(ipython)


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """Takes the magics away and closes the client; IPython calls this on `%unload_ext e2b_magic`."""
    from e2b_magic import magics

    magics.unload(ipython)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Says what a Jupyter server loads; it calls this because of the file in `jupyter-config`."""
    from e2b_magic.server_extension.app import E2BMagicApp

    return [{"module": "e2b_magic.server_extension.app", "app": E2BMagicApp}]
