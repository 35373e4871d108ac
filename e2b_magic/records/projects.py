"""A project, and where its server is seen."""

from __future__ import annotations

from dataclasses import dataclass

from e2b_magic.records.base import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(Record):
    """What is known of one project.

    Attributes:
        name: The project's name.
        template: The sandbox template it was made from.
        sandbox_id: Its sandbox; empty while it has none.
        sandbox_expires_at: When that sandbox ends unless it is extended, in seconds since the epoch.
        backend: `embedded`, or the E2B domain.
        revision: Raised by every write to the sandbox's files, so that older cached results no longer hold.
        paused: Whether that sandbox was paused, and not used since.
        sandbox_timeout: How long its sandboxes live after their last use, in seconds; 0 for the usual hour.
        path: The directory inside the sandbox.
        port: The dev server's port, or None.
        url: Where that port is reached from a browser; empty while none is served.
        source: Where its files come from: `template NAME`, `directory PATH`, `git URL`, `files`; empty before a setup.
        state: How its setup stands: `setting up`, `ready`, `failed`, `interrupted`; empty before it.
        reason: Why it failed, in a line.
        dev: What starts its dev server; empty when that is not known.
        set_up_at: When its setup last ended well, in seconds since the epoch.
        created_at: Seconds since the epoch.
        updated_at: Seconds since the epoch.
    """

    name: str
    template: str = "base"
    sandbox_id: str = ""
    sandbox_expires_at: float = 0.0
    backend: str = ""
    revision: int = 0
    paused: bool = False
    sandbox_timeout: int = 0
    path: str = "/home/user"
    port: int | None = None
    url: str = ""
    source: str = ""
    state: str = ""
    reason: str = ""
    dev: str = ""
    set_up_at: float = 0.0
    created_at: float = 0.0
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview(Record):
    """Where a port of a project's sandbox is reached from a browser.

    Attributes:
        project: The project's name.
        port: The port inside the sandbox.
        url: An address; one that begins with a slash is a path on the Jupyter server itself.
        open: Whether something listened on the port when that was asked.
    """

    project: str
    port: int
    url: str
    open: bool
