"""Requests to run something in a project's sandbox."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar

from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.worker.requests.base import Request, check_text

LONGEST = 1_000_000
"""The longest timeout of a command, in seconds: envd's header has ten digits for milliseconds."""
EXECUTION_ID = re.compile(r"[a-z0-9-]{1,64}")


def check_variables(envs: dict[str, str]) -> None:
    """Refuses variables that no process can have.

    Raises:
        InvalidRequestError: One is; no value is repeated.
    """
    for name, value in envs.items():
        if not name or "=" in name:
            raise InvalidRequestError(f"{name!r} cannot name a variable")
        check_text("A variable", name)
        check_text(f"The value of {name}", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class WithCommand(Request):
    """What a request carries that runs a command with bash.

    Attributes:
        command: The text, as the shell is to read it.
        cwd: The working directory; the user's home when None.
        envs: Environment variables; left out of every repr.
        user: The user inside the sandbox; the template's when None.
    """

    command: str
    cwd: str | None = None
    envs: dict[str, str] = field(default_factory=dict, repr=False)
    user: str | None = None

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        if not self.command.strip():
            raise InvalidRequestError("The command is empty: give the text to run, as in `ls -la`")
        check_text("The command", self.command)
        check_variables(self.envs)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteCommand(WithCommand):
    """Run a command with `bash -l -c`.

    Attributes:
        timeout: Seconds after which the command is killed; None lets it run.
        stdin: What it reads from its standard input, in base64; nothing when None. Left out of every repr.
        execution: The id under which the asker's history has it, for a server's log; empty when it has none.
    """

    type: ClassVar[str] = "execute_command"
    timeout: float | None = None
    stdin: str | None = field(default=None, repr=False)
    execution: str = ""

    def __post_init__(self) -> None:
        WithCommand.__post_init__(self)
        if self.timeout is not None and not 0 < self.timeout <= LONGEST:
            raise InvalidRequestError(
                f"timeout must be a number of seconds above 0 and at most {LONGEST:,}, not {self.timeout!r}"
            )
        if self.execution and not EXECUTION_ID.fullmatch(self.execution):
            raise InvalidRequestError("An execution's id must be 1 to 64 of a-z, 0-9 and '-'")
