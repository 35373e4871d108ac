"""The one map from the SDK's errors to ours.

`translating` is put around every call of the SDK. What leaves it is an `E2BMagicError` whose text is one line, and
whose traceback does not show what the SDK raised: its frames hold the API key in their locals, and a verbose
traceback prints locals.
"""

from __future__ import annotations

import re
from types import TracebackType

import e2b.exceptions as sdk
import httpx
from e2b import CommandExitException
from pyqwest import ReadError, StreamError, WriteError

from e2b_magic.exceptions import (
    AuthenticationError,
    BackendError,
    E2BMagicError,
    InvalidRequestError,
    NotEnoughSpaceError,
    OutcomeUnknownError,
    RateLimitError,
    RemoteFileNotFoundError,
    SandboxGoneError,
    SandboxUnreachableError,
)

# Searched from the top: a subclass stands before its parent. CommandExitException is not here, since a command that
# fails is an answer and no error; `commands` catches it.
MAP: tuple[tuple[type[BaseException], type[E2BMagicError]], ...] = (
    (sdk.AuthenticationException, AuthenticationError),
    (sdk.RateLimitException, RateLimitError),
    (sdk.ServiceBusyException, RateLimitError),
    (sdk.SandboxNotRunningException, SandboxGoneError),
    (sdk.SandboxUnreachableException, SandboxUnreachableError),
    (sdk.TimeoutException, SandboxUnreachableError),
    (sdk.SandboxNotFoundException, SandboxGoneError),
    (sdk.FileNotFoundException, RemoteFileNotFoundError),
    (sdk.NotEnoughSpaceException, NotEnoughSpaceError),
    (sdk.InvalidArgumentException, InvalidRequestError),
    (sdk.SandboxException, BackendError),
    (sdk.BuildException, BackendError),
    (sdk.VolumeException, BackendError),
    (sdk.SecretException, BackendError),
    (httpx.ConnectError, SandboxUnreachableError),
    (httpx.ConnectTimeout, SandboxUnreachableError),
    (httpx.TransportError, OutcomeUnknownError),
    (ConnectionRefusedError, SandboxUnreachableError),
    (ReadError, OutcomeUnknownError),
    (WriteError, OutcomeUnknownError),
    (StreamError, OutcomeUnknownError),
    (OSError, OutcomeUnknownError),
)

_ADVICE: dict[type[E2BMagicError], str] = {
    AuthenticationError: "The E2B server refused the API key: check E2B_API_KEY, or log in again",
    RateLimitError: "The E2B server asks for a pause: try again in a minute",
    SandboxGoneError: "The sandbox has ended; its files are lost",
    SandboxUnreachableError: "The sandbox does not answer: try again, or look at its state",
    OutcomeUnknownError: "The connection broke: the work may or may not have been done",
}


_NOBODY_THERE = (
    "The E2B server cannot be reached: try again, and if E2B_DOMAIN or E2B_API_URL is set, check that, and the network"
)


def translate(error: BaseException) -> E2BMagicError:
    """Gives our error for one of the SDK's.

    The SDK's text is passed on only where it tells a user something that ours does not: for the rest it is long, and
    may quote what was sent.
    """
    if isinstance(error, E2BMagicError):
        return error
    if isinstance(error, sdk.AuthenticationException) and (unknown := re.search("invalid username: .*", str(error))):
        # envd answers so for a user that the sandbox does not have; the key is fine.
        return InvalidRequestError(f"{unknown[0]}: the sandbox has no such user")
    if getattr(error, "status_code", None) == 409 and "killed" in str(error):
        return SandboxGoneError(_ADVICE[SandboxGoneError])  # it is being ended just now
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | ConnectionRefusedError):
        return SandboxUnreachableError(_NOBODY_THERE)
    for theirs, ours in MAP:
        if isinstance(error, theirs):
            return ours(_ADVICE.get(ours) or _first_line(error))
    return BackendError(f"The E2B SDK failed with {type(error).__name__}")


def _first_line(error: BaseException) -> str:
    # For what it knows no exception of its own for, the SDK puts Connect's code, or HTTP's, before the text.
    lines = re.sub(r"^(Code\.[A-Z_]+|\d{3}): ", "", str(error).strip()).splitlines()
    return lines[0][:300] if lines else type(error).__name__


class translating:  # noqa: N801  read as a word in `with translating():`, like contextlib's own classes
    """Turns whatever the SDK raises inside into our errors, without its traceback.

    A class and no generator: contextlib's own frame would keep the SDK's error in a local, for all to print.

    Raises:
        E2BMagicError: See `MAP`.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, CommandExitException) or not isinstance(error, Exception):
            return
        translated = translate(error)
        del error, trace
        raise translated from None
