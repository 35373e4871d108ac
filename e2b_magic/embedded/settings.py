"""What the embedded server can be told: one table, read from its environment, and the flags of `e2b-magic serve`.

An environment variable holds for every server that is started in that environment, by a notebook's first command too;
a flag for the one server that `e2b-magic serve` starts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from e2b_magic.embedded.containment.limits import MEBIBYTE, Limits
from e2b_magic.exceptions import ConfigurationError

_UNITS = {"": 1, "K": 1024, "M": MEBIBYTE, "G": 1024 * MEBIBYTE, "T": 1024 * 1024 * MEBIBYTE}
_SIZE = re.compile(r"(\d{1,15})([KMGT]?)(?:i?B)?", re.IGNORECASE)
DEFAULT_POOL = 1


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError
    return int(found[1]) * _UNITS[found[2].upper()]


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise ValueError
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


@dataclass(frozen=True, slots=True)
class Setting:
    """One of them.

    Attributes:
        flag: Its flag; the variable's name follows from it.
        field: The field of `Limits` that it fills; `pool` for the pool's size.
        read: Reads its text.
        least: The smallest value with which a sandbox still works.
        form: What its text looks like, for whoever got it wrong.
        help: What it is, for the command line's help.
        optional: Whether `none` lifts the bound.
    """

    flag: str
    field: str
    read: Callable[[str], float]
    least: float
    form: str
    help: str
    optional: bool = True

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return "E2B_MAGIC_" + self.flag.removeprefix("--").upper().replace("-", "_")

    def value(self, text: str) -> Any:
        """Gives what its text means.

        Raises:
            ConfigurationError: It means nothing, or is too small.
        """
        if self.optional and text.strip().lower() == "none":
            return None
        try:
            value = self.read(text.strip())
        except ValueError:
            value = -1
        if value < self.least:
            bound = f"at least {_shown(self)}{', or none' if self.optional else ''}"
            raise ConfigurationError(f"{self.variable} must be {self.form}, {bound}, not {text!r}")
        return value


def _shown(setting: Setting) -> str:
    size = setting.read is _size
    return f"{int(setting.least) // MEBIBYTE}M" if size else f"{setting.least:g}"


_A_SIZE, _A_NUMBER = "a size such as 512M or 2G", "a whole number"
SETTINGS = (
    Setting("--memory", "memory_bytes", _size, 32 * MEBIBYTE, _A_SIZE, "memory of a sandbox (2G)"),
    Setting(
        "--cpus", "cpus", _number, 0.05, "a number of processors such as 1.5", "processor time of a sandbox (none)"
    ),
    Setting("--processes", "processes", _count, 8, _A_NUMBER, "processes and threads of a sandbox (1024)"),
    Setting("--open-files", "open_files", _count, 64, _A_NUMBER, "open files of a process (16384)"),
    Setting("--file-size", "file_bytes", _size, MEBIBYTE, _A_SIZE, "size of a file (4G)"),
    Setting("--disk", "disk_bytes", _size, MEBIBYTE, _A_SIZE, "all files of a sandbox (10G)"),
    Setting(
        "--shared-memory", "shared_memory_bytes", _size, MEBIBYTE, _A_SIZE, "size of /dev/shm (64M)", optional=False
    ),
    Setting("--pool", "pool", _count, 0, _A_NUMBER, "sandboxes that are started ahead (1)", optional=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a server was told.

    Attributes:
        limits: What each sandbox may use.
        pool: How many sandboxes stand ready before they are asked for.
    """

    limits: Limits = field(default_factory=Limits)
    pool: int = DEFAULT_POOL

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Gives what an environment tells; of what it does not, the defaults.

        Raises:
            ConfigurationError: A variable makes no sense.
        """
        told = {one.field: one.value(text) for one in SETTINGS if (text := environment.get(one.variable))}
        pool = told.pop("pool", DEFAULT_POOL)
        return cls(limits=Limits(**told), pool=pool)
