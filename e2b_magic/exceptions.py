"""Every error this package raises, as one tree.

::

    E2BMagicError
    ├── InvalidRequestError (ValueError)     a caller's slip: the message says what would be right
    │   └── RequestTooLargeError             more bytes than the worker takes at once
    ├── ConfigurationError                   a setting or environment that cannot work
    │   └── ContainmentError                 this machine cannot contain a sandbox: cause and ways out
    ├── BackendError                         the E2B server's answer, or the lack of one
    │   ├── AuthenticationError              the API key was refused
    │   ├── RateLimitError                   too many requests; try later
    │   ├── SandboxGoneError                 the sandbox ended; its files are lost
    │   ├── SandboxUnreachableError          the sandbox exists, or may, and does not answer
    │   └── EmbeddedServerError              the embedded server did not start or died
    ├── CommandError                         a command that ran and did not succeed; has `.result`
    │   ├── CommandFailedError               it exited with another code than 0
    │   ├── CommandTimeoutError              it ran longer than its timeout and was killed
    │   └── CommandInterruptedError          it was interrupted and killed
    ├── SetupError                           a project's files are there, what it needs is not
    ├── ServerNotReadyError                  a dev server ended, or did not answer in time
    ├── FileError                            a file operation inside a sandbox
    │   ├── RemoteFileNotFoundError
    │   ├── RemotePathError                  a directory where a file was meant, or the reverse
    │   ├── FileTooLargeError
    │   └── NotEnoughSpaceError
    ├── StoreError                           the store could not be read or written
    │   └── StoreBusyError                   another process held it for too long
    ├── WorkerError                          the Jupyter server that works for us refused, or did not answer
    └── OutcomeUnknownError                  the work may or may not have been done

Each class has a `code`, the word that stands for it in a worker's error answer; `from_code` turns it back, so
an error looks the same to a caller whether the worker runs in this process or behind a Jupyter server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from e2b_magic.records import ExecutionResult


class E2BMagicError(Exception):
    """The base of every error raised by this package; its text is one line that a user can act on.

    Attributes:
        result: The record of the execution that met the error, what it wrote so far included; None elsewhere.
    """

    code: ClassVar[str] = "error"
    result: ExecutionResult | None = None


class InvalidRequestError(E2BMagicError, ValueError):
    """A request that cannot be meant: the message names what was wrong and what would be right."""

    code = "invalid_request"


class RequestTooLargeError(InvalidRequestError):
    """A request has more bytes than the worker takes at once."""

    code = "request_too_large"


class ConfigurationError(E2BMagicError):
    """A setting, or the environment, does not allow what was asked."""

    code = "configuration"


class ContainmentError(ConfigurationError):
    """This machine cannot contain a sandbox, so none is started.

    Args:
        cause: What the machine lacks or forbids, in a sentence.
        remedy: The ways out, in a sentence each.
    """

    code = "containment"

    def __init__(self, cause: str, remedy: str = "") -> None:
        self.cause = cause
        self.remedy = remedy
        super().__init__(f"{cause} {remedy}".strip())


class BackendError(E2BMagicError):
    """The E2B server refused a request or failed at it."""

    code = "backend"


class AuthenticationError(BackendError):
    """The E2B server refused the API key."""

    code = "authentication"


class RateLimitError(BackendError):
    """The E2B server asks for fewer requests."""

    code = "rate_limit"


class SandboxGoneError(BackendError):
    """The sandbox was killed or reached its timeout; its files are lost."""

    code = "sandbox_gone"


class SandboxUnreachableError(BackendError):
    """The sandbox does not answer and is not known to have ended."""

    code = "sandbox_unreachable"


class EmbeddedServerError(BackendError):
    """The embedded E2B server did not start, or ended."""

    code = "embedded_server"


class CommandError(E2BMagicError):
    """A command was run and did not succeed; `result` holds its record, output included."""

    code = "command"

    def __init__(self, message: str, result: ExecutionResult | None = None) -> None:
        super().__init__(message)
        self.result = result


class CommandFailedError(CommandError):
    """A command exited with a code other than 0."""

    code = "command_failed"


class CommandTimeoutError(CommandError):
    """A command ran longer than its timeout and was killed."""

    code = "command_timeout"


class CommandInterruptedError(CommandError):
    """A command was interrupted and killed."""

    code = "command_interrupted"


class SetupError(E2BMagicError):
    """A repository could not be cloned, or an install command failed; the files that were brought are there."""

    code = "setup"


class ServerNotReadyError(E2BMagicError):
    """A dev server ended before its port answered, or did not answer in time."""

    code = "server_not_ready"


class FileError(E2BMagicError):
    """A file operation inside a sandbox failed."""

    code = "file"


class RemoteFileNotFoundError(FileError):
    """No file or directory stands at that path in the sandbox."""

    code = "file_not_found"


class RemotePathError(FileError):
    """A directory stands where a file was meant, or a file where a directory was."""

    code = "path"


class FileTooLargeError(FileError):
    """A file is larger than the operation allows."""

    code = "file_too_large"


class NotEnoughSpaceError(FileError):
    """The sandbox's disk is full."""

    code = "not_enough_space"


class StoreError(E2BMagicError):
    """The store could not be read or written."""

    code = "store"


class StoreBusyError(StoreError):
    """Another process held the store for longer than the store's timeout."""

    code = "store_busy"


class WorkerError(E2BMagicError):
    """The Jupyter server whose worker was asked did not answer, or refused; nothing was done."""

    code = "worker"


class OutcomeUnknownError(E2BMagicError):
    """The connection broke after the work was sent: it may or may not have been done."""

    code = "outcome_unknown"


def _tree(root: type[E2BMagicError]) -> dict[str, type[E2BMagicError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


def from_code(code: str, message: str) -> E2BMagicError:
    """Gives the exception that a worker's error answer stands for.

    Args:
        code: The `code` of the answer; an unknown one gives the base class.
        message: The answer's text.
    """
    return _tree(E2BMagicError).get(code, E2BMagicError)(message)
