"""The language between a client and a worker: requests go in, events come while the work goes on, an envelope ends it.

A request is a mapping with a `type` and the fields of one of the dataclasses below; `validation` checks one and
gives the dataclass. While the work goes on the worker emits events: `Output`, `Progress`, `Attached`. It ends with
one envelope: `{"success": true, "data": …, "timestamp": …}` or `{"success": false, "error": …, "code": …,
"timestamp": …}`, where `code` is that of a class in `e2b_magic.exceptions` and `timestamp` counts milliseconds.
All of it is JSON, so the same words travel in a process and over HTTP (events as lines of NDJSON).
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal

from e2b_magic.exceptions import E2BMagicError, InvalidRequestError, from_code
from e2b_magic.worker.kinds import check_kinds

LONGEST = 1_000_000
"""The longest timeout of a command, in seconds: envd's header has ten digits for milliseconds."""
PROJECT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_project_name(name: object) -> str:
    """Gives the name back when it can name a project.

    Raises:
        InvalidRequestError: It holds a slash, a leading dot or anything else that a name may not hold.
    """
    if isinstance(name, str) and PROJECT_NAME.fullmatch(name):
        return name
    raise InvalidRequestError(
        f"{name!r} cannot name a project: use up to 64 letters, digits, '.', '_' and '-', a letter or digit first"
    )


def check_text(what: str, text: str, *, nul: bool = False) -> None:
    """Refuses text that cannot be sent, without repeating it, since it may be a secret.

    Args:
        what: What the text is, for the message.
        text: The text.
        nul: Whether it may hold NUL characters.

    Raises:
        InvalidRequestError: It holds a NUL character, or half of a surrogate pair.
    """
    if "\0" in text and not nul:
        raise InvalidRequestError(f"{what} holds a NUL character, which no shell and no file system can read")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        position = error.start
        raise InvalidRequestError(f"{what} holds half a character (a lone surrogate) at {position:,}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What every request carries.

    Attributes:
        project_id: The project's name.
        template: The sandbox template, should a sandbox have to be made.
        sandbox_id: The sandbox that the client last knew for this project; empty when it knew none.
    """

    type: ClassVar[str]
    project_id: str
    template: str = "base"
    sandbox_id: str = ""

    def __post_init__(self) -> None:
        check_kinds(self)
        check_project_name(self.project_id)

    def to_json(self) -> dict[str, Any]:
        """Gives the mapping that `parse_request` (in `validation`) reads."""
        # Not asdict, which copies deeply what nobody changes.
        return {"type": self.type, **{entry.name: getattr(self, entry.name) for entry in fields(self)}}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteCommand(Request):
    """Run a command with `bash -l -c`.

    Attributes:
        command: The text, as the shell is to read it.
        cwd: The working directory; the user's home when None.
        envs: Environment variables; left out of every repr.
        user: The user inside the sandbox; the template's when None.
        timeout: Seconds after which the command is killed; None lets it run.
    """

    type: ClassVar[str] = "execute_command"
    command: str
    cwd: str | None = None
    envs: dict[str, str] = field(default_factory=dict, repr=False)
    user: str | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        if not self.command.strip():
            raise InvalidRequestError("The command is empty: give the text to run, as in `ls -la`")
        check_text("The command", self.command)
        for name, value in self.envs.items():
            if not name or "=" in name:
                raise InvalidRequestError(f"{name!r} cannot name a variable")
            check_text("A variable", name)
            check_text(f"The value of {name}", value)
        if self.timeout is not None and not 0 < self.timeout <= LONGEST:
            raise InvalidRequestError(
                f"timeout must be a number of seconds above 0 and at most {LONGEST:,}, not {self.timeout!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnPath(Request):
    path: str
    user: str | None = None

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        if not self.path:
            raise InvalidRequestError("The path is empty: name a file in the sandbox")
        check_text("The path", self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteFile(_OnPath):
    """Write a file, making the directories above it.

    Attributes:
        content: The file's new content, in `encoding`.
        encoding: `utf-8` for text, `base64` for any bytes.
        append: Add to the file's end instead of replacing it.
        mode: Permission bits to set, such as 0o755; left as they are when None.
    """

    type: ClassVar[str] = "write_file"
    content: str = field(repr=False)
    encoding: Literal["utf-8", "base64"] = "utf-8"
    append: bool = False
    mode: int | None = None

    def __post_init__(self) -> None:
        _OnPath.__post_init__(self)
        if self.encoding == "utf-8":
            check_text("The content", self.content, nul=True)
        if self.mode is not None and not 0 <= self.mode <= 0o7777:
            raise InvalidRequestError(f"mode must lie between 0 and 0o7777, not {self.mode!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFile(_OnPath):
    """Read a file; the answer's `content` is base64.

    Attributes:
        limit: The largest file to read, in bytes.
    """

    type: ClassVar[str] = "read_file"
    limit: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFiles(_OnPath):
    """List a directory; the answer's `entries` are mappings of `FileEntry`."""

    type: ClassVar[str] = "list_files"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFile(_OnPath):
    """Remove a file, or a directory with all in it when `recursive`."""

    type: ClassVar[str] = "remove_file"
    recursive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxStatus(Request):
    """Ask whether the project's sandbox is alive, without making one."""

    type: ClassVar[str] = "sandbox_status"


@dataclass(frozen=True, slots=True, kw_only=True)
class KillSandbox(Request):
    """End the project's sandbox, and any other that carries the project's name."""

    type: ClassVar[str] = "kill_sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupProject(Request):
    """Make a project's files and install what it needs (the handler answers this from its own issue on)."""

    type: ClassVar[str] = "setup_project"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDevServer(Request):
    """Start a project's server in the background (the handler answers this from its own issue on)."""

    type: ClassVar[str] = "start_dev_server"
    command: str
    port: int | None = None


REQUESTS: dict[str, type[Request]] = {
    request.type: request
    for request in (
        ExecuteCommand, WriteFile, ReadFile, ListFiles, RemoveFile, SandboxStatus, KillSandbox, SetupProject,
        StartDevServer,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of a command's output, in the order it came; `stream` is `stdout` or `stderr`."""

    stream: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """A line on how the work gets on, or on something a user should know, such as a sandbox made anew."""

    text: str


@dataclass(frozen=True, slots=True)
class Attached:
    """The sandbox that the work goes on in.

    Attributes:
        sandbox_id: Its id.
        backend: `embedded`, or the E2B domain.
        expires_at: When it ends unless extended, in seconds since the epoch.
        created: Whether it was made for this request.
    """

    sandbox_id: str
    backend: str
    expires_at: float
    created: bool


Event = Output | Progress | Attached
Emit = Callable[[Event], Awaitable[None]]

_EVENTS: dict[str, type[Output | Progress | Attached]] = {"output": Output, "progress": Progress, "attached": Attached}


def event_to_json(event: Event) -> dict[str, Any]:
    """Gives the mapping of one NDJSON line."""
    return {"event": type(event).__name__.lower(), **asdict(event)}


def event_from_json(data: dict[str, Any]) -> Event:
    """Gives the event back that `event_to_json` wrote."""
    values = dict(data)
    return _EVENTS[values.pop("event")](**values)


Envelope = dict[str, Any]


def success(data: dict[str, Any]) -> Envelope:
    """Gives the envelope of work that was done."""
    return {"success": True, "data": data, "timestamp": int(time.time() * 1000)}


def failure(error: E2BMagicError) -> Envelope:
    """Gives the envelope of work that failed; only the error's code and one line of text travel."""
    return {"success": False, "error": str(error), "code": error.code, "timestamp": int(time.time() * 1000)}


def unwrap(envelope: Envelope) -> dict[str, Any]:
    """Gives an envelope's data.

    Raises:
        E2BMagicError: The class that the envelope's error code stands for.
    """
    if envelope["success"]:
        data: dict[str, Any] = envelope["data"]
        return data
    raise from_code(envelope["code"], envelope["error"])
