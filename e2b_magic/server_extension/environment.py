"""Taking what belongs to E2B out of the server's environment, so that no process that it starts inherits it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import MutableMapping

TAKEN = ("E2B_API_KEY", "E2B_ACCESS_TOKEN", "E2B_API_URL", "E2B_SANDBOX_URL", "E2B_DOMAIN")
"""What the worker uses itself. The last three are no secrets, but without the key a kernel would stumble over them."""
SECRET = {"E2B_API_KEY", "E2B_ACCESS_TOKEN"}
FOREIGN = ("E2B_MAGIC_WORKER_URL", "E2B_MAGIC_WORKER_TOKEN", "E2B_MAGIC_WORKER_BACKEND", "E2B_MAGIC_WORKER_ALLOW_HTTP")
"""Another server's worker, for a server that was started from a notebook: not to be mixed up with our own."""


def take_settings(environment: MutableMapping[str, str]) -> dict[str, str]:
    """Gives the environment's variables as they were, and takes E2B's own out of it.

    From the process's own environment the secrets are also wiped where the kernel of the operating system shows them:
    `/proc/<pid>/environ` is the memory that the process started with, and deleting a variable leaves it there.

    Args:
        environment: `os.environ`, or a mapping that stands for it.
    """
    settings = {name: value for name, value in environment.items() if name not in FOREIGN}
    if environment is os.environ and sys.platform == "linux":
        for name in settings.keys() & SECRET:
            _wipe(name)
    for name in (*TAKEN, *FOREIGN):
        environment.pop(name, None)
    return settings


def _wipe(name: str) -> None:
    """Overwrites a variable's value in this process's memory with zeros."""
    entries = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
    prefix = f"{name}=".encode()
    position = 0
    while address := entries[position]:
        entry = ctypes.string_at(address)
        if entry.startswith(prefix):
            ctypes.memset(address + len(prefix), 0, len(entry) - len(prefix))
        position += 1
