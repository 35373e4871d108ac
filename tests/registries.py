"""The registries that pip and npm ask, as these programs themselves name them: no test names one."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from functools import cache
from typing import Any
from urllib.parse import urlsplit


@cache
def python_index() -> str:
    """Gives the address of Python's package index, with a slash at the end."""
    index: Any = importlib.import_module("pip._internal.models.index")
    return f"{index.PyPI.simple_url}/"


@cache
def python_hosts() -> list[str]:
    """Gives the hosts that `pip install` needs: the index's, and that of the files."""
    index: Any = importlib.import_module("pip._internal.models.index")
    return [host_of(python_index()), index.PyPI.file_storage_domain]


@cache
def npm_registry() -> str:
    """Gives the address of npm's registry, with a slash at the end; empty where there is no npm."""
    if shutil.which("npm") is None:
        return ""
    told = subprocess.run(["npm", "config", "get", "registry"], check=True, capture_output=True, text=True, cwd="/")
    return told.stdout.strip()


def host_of(address: str) -> str:
    """Gives an address's host."""
    return urlsplit(address).hostname or ""
