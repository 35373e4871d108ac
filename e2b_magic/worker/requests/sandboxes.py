"""Requests on a project's sandbox itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from e2b_magic.worker.requests.base import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxStatus(Request):
    """Ask whether the project's sandbox is alive, without making one."""

    type: ClassVar[str] = "sandbox_status"
    repeatable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class KillSandbox(Request):
    """End the project's sandbox, and any other that carries the project's name."""

    type: ClassVar[str] = "kill_sandbox"
