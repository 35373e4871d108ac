"""Requests on what runs in a project's sandbox by itself: background jobs, and the dev servers among them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.worker.requests.base import Request
from e2b_magic.worker.requests.commands import LONGEST, WithCommand

JOB_ID = re.compile(r"[0-9a-f]{8}")
LONGEST_JOB = 60_000
"""The longest command of a job, in bytes: quoted, and with what keeps the job, it is one argument (128 KiB)."""
ENVD_PORT = 49983
"""The port of the sandbox's own daemon, which can be no server's."""
_BASE = re.compile(r"/(?:[A-Za-z0-9._~%@:+-]+/)+")


def check_job(job_id: str) -> None:
    """Refuses what can be no job's id.

    Raises:
        InvalidRequestError: It is none.
    """
    if not JOB_ID.fullmatch(job_id):
        raise InvalidRequestError(f"{job_id!r} is no job's id: those have eight hexadecimal digits")


def check_port(port: int | None) -> None:
    """Refuses a number that no server in a sandbox can listen on.

    Raises:
        InvalidRequestError: It is none.
    """
    if port is not None and (not 1 <= port <= 65535 or port == ENVD_PORT):
        raise InvalidRequestError(f"{port} is no port for a server: use one between 1 and 65535, and not {ENVD_PORT}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StartJob(WithCommand):
    """Start a command that goes on by itself; the answer is the mapping of a `BackgroundJob`.

    Attributes:
        job: The id that it is to have, by which it can be ended should the answer get lost; a new one when empty.
    """

    type: ClassVar[str] = "start_job"
    job: str = ""

    def __post_init__(self) -> None:
        WithCommand.__post_init__(self)
        if self.job:
            check_job(self.job)
        if (size := len(self.command.encode())) > LONGEST_JOB:
            raise InvalidRequestError(
                f"The command has {size:,} bytes and a job takes {LONGEST_JOB:,}: write it to a file, and run that"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDevServer(StartJob):
    """Start a server and wait until its port answers; the answer is the mapping of a `BackgroundJob`.

    Attributes:
        port: The port that it will listen on; the command finds it in the variable PORT too.
        ready_within: Seconds in which the port has to answer; else the server is stopped.
        base: The path under which browsers will see it, with a slash at both ends, where that is not `/`; the command
            finds it in the variable BASE_PATH.
    """

    type: ClassVar[str] = "start_dev_server"
    port: int
    ready_within: float = 60.0
    base: str = ""

    def __post_init__(self) -> None:
        StartJob.__post_init__(self)
        check_port(self.port)
        if not 0 < self.ready_within <= LONGEST:
            raise InvalidRequestError(f"ready_within must be a number of seconds above 0, not {self.ready_within!r}")
        if self.base and not _BASE.fullmatch(self.base):
            raise InvalidRequestError("base must be a path that begins and ends with a slash")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListJobs(Request):
    """List the jobs in the project's sandbox, should it run; makes none and wakes none.

    Attributes:
        keep_alive: Whether to move the sandbox's end for as long as a job other than a server runs.
    """

    type: ClassVar[str] = "list_jobs"
    repeatable: ClassVar[bool] = True
    keep_alive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OnJob(Request):
    """What a request on one job carries.

    Attributes:
        job: The job's id.
    """

    job: str

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        check_job(self.job)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLog(OnJob):
    """Read a job's log as output events; the answer is the mapping of its `BackgroundJob`.

    Attributes:
        lines: Begin with that many of its last lines; None begins with all that is kept.
        follow: Go on until the job has ended.
        quiet: Emit nothing: with `follow` that is to wait for the job.
    """

    type: ClassVar[str] = "read_log"
    lines: int | None = None
    follow: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        OnJob.__post_init__(self)
        if self.lines is not None and not 0 <= self.lines <= 10_000_000:
            raise InvalidRequestError(f"lines must be a number between 0 and 10,000,000, not {self.lines!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StopJob(OnJob):
    """End a job and all that it started; the answer is the mapping of its `BackgroundJob`.

    Attributes:
        grace: Seconds between the request to end (SIGTERM) and the end by force (SIGKILL).
    """

    type: ClassVar[str] = "stop_job"
    grace: float = 5.0

    def __post_init__(self) -> None:
        OnJob.__post_init__(self)
        if not 0 <= self.grace <= 600:
            raise InvalidRequestError(f"grace must be a number of seconds between 0 and 600, not {self.grace!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewPort(Request):
    """Ask where a port of the project's sandbox is reached: the answer has its `url`, and whether it is `open`."""

    type: ClassVar[str] = "preview_port"
    repeatable: ClassVar[bool] = True
    port: int

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        check_port(self.port)
