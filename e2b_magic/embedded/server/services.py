"""E2B's generated services, without the client that they are shipped with."""

from __future__ import annotations

import importlib
import importlib.util
import sys

_SERVICES = ("e2b.envd.process.process_connect", "e2b.envd.filesystem.filesystem_connect")


def load_services() -> None:
    """Imports the services but not the SDK around them, which halves the time of the server's start.

    Importing `e2b` brings in its whole client (0.3 s, 16 MB), of which a server needs nothing. So the package is
    entered into `sys.modules` as it is before its own code has run, and only what lies below `e2b.envd` is run. For
    the server's process alone: whoever wants the client after that does not get it.
    """
    specification = importlib.util.find_spec("e2b")
    if specification is None or "e2b" in sys.modules:
        return
    sys.modules["e2b"] = importlib.util.module_from_spec(specification)
    try:
        for name in _SERVICES:
            importlib.import_module(name)
    except (ImportError, AttributeError):
        # A release whose services do need the client: the plain import that follows costs time, and works.
        for name in [name for name in sys.modules if name.partition(".")[0] == "e2b"]:
            del sys.modules[name]
