"""The errors that the agent answers with: a code that the daemon acts on, and a line for its client."""

from __future__ import annotations

import errno

CODES = {
    errno.ENOENT: "not_found",
    errno.ELOOP: "invalid_argument",
    errno.EEXIST: "already_exists",
    errno.ENOTEMPTY: "already_exists",
    errno.ENOTDIR: "not_a_directory",
    errno.EISDIR: "is_a_directory",
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EFBIG: "no_space",
    errno.EACCES: "permission_denied",
    errno.EPERM: "permission_denied",
    errno.EROFS: "permission_denied",
    errno.ENAMETOOLONG: "invalid_argument",
    errno.EINVAL: "invalid_argument",
    errno.ENXIO: "invalid_argument",
    errno.E2BIG: "invalid_argument",
    errno.EAGAIN: "exhausted",
    errno.ENOMEM: "exhausted",
    errno.EMFILE: "exhausted",
    errno.ENFILE: "exhausted",
}


class Failure(Exception):  # noqa: N818 - an answer, not an error of the agent's
    """What a request is answered with when it cannot be done.

    Args:
        code: One of the words that `e2b_magic.embedded.sandbox.sandbox.AgentError` lists.
        message: One line that names what was wrong.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


def of_system(error: OSError, path: str) -> Failure:
    """Gives the answer that an error of the operating system stands for.

    Args:
        error: What the system said.
        path: What it was about.
    """
    code = CODES.get(error.errno or 0, "internal")
    if code == "not_found":
        return Failure(code, f"path '{path}' does not exist")
    return Failure(code, f"'{path}': {(error.strerror or 'unknown error').lower()}")


def as_failure(error: Exception) -> Failure:
    """Gives the answer for whatever a request met."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, OSError):
        return of_system(error, str(error.filename or "this"))
    if isinstance(error, ValueError):  # a NUL in a name, a text that is no path: UnicodeError is one too
        return Failure("invalid_argument", str(error))
    return Failure("internal", f"the agent failed with {type(error).__name__}")
