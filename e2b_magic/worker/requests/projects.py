"""Requests that make a project's files and install what it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from e2b_magic.worker.requests.base import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupProject(Request):
    """Make a project's files and install what it needs (the handler answers this from its own issue on)."""

    type: ClassVar[str] = "setup_project"
