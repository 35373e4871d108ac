"""What E2B's clients are told when something cannot be done.

`ProtocolError` is the refusal of a plain HTTP route, with the status and the body that E2B's SDKs understand.
Three functions are the only places where a failure inside a sandbox (`AgentError`) turns into an answer: for the
Connect services, for `/files`, and for ports.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from starlette.responses import JSONResponse, Response

from e2b_magic.embedded.sandbox.sandbox import AgentError
from e2b_magic.embedded.server.text import readable

_CONNECT_CODES = {
    "not_found": Code.NOT_FOUND,
    "already_exists": Code.ALREADY_EXISTS,
    "not_a_directory": Code.INVALID_ARGUMENT,
    "is_a_directory": Code.INVALID_ARGUMENT,
    "invalid_argument": Code.INVALID_ARGUMENT,
    "permission_denied": Code.PERMISSION_DENIED,
    "unknown_user": Code.UNAUTHENTICATED,
    "gone": Code.UNAVAILABLE,
    # Not RESOURCE_EXHAUSTED, which the SDK reads as a rate limit.
    "no_space": Code.INTERNAL,
}

_FILE_STATUSES = {
    "not_found": 404,
    "already_exists": 400,
    "not_a_directory": 400,
    "is_a_directory": 400,
    "invalid_argument": 400,
    "permission_denied": 403,
    "unknown_user": 401,
    "gone": 502,
    "no_space": 507,
    "exhausted": 503,
}


class ProtocolError(Exception):
    """A refusal, in the shape of E2B's own: `{"code", "message"}` and further fields.

    Args:
        status: The HTTP status, which is also the `code`.
        message: One line for the client.
        fields: Further fields of the body.
    """

    def __init__(self, status: int, message: str, **fields: object) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.fields = fields

    def response(self) -> Response:
        """Gives the answer to send."""
        body = {**self.fields, "code": self.status, "message": readable(self.message)}
        # Whatever is refused here stays refused; without the header the SDK would repeat a 502 or 503 on its own.
        headers = {"Should-Retry": "false"} if self.status in (429, 502, 503, 504) else None
        return JSONResponse(body, self.status, headers)


def sandbox_not_found(sandbox_id: str) -> ProtocolError:
    """Gives the answer of E2B's proxy for a sandbox that is not there; the SDK knows it by its text."""
    return ProtocolError(502, "The sandbox was not found", sandboxId=sandbox_id)


def no_such_sandbox(sandbox_id: str) -> ProtocolError:
    """Gives the answer of E2B's control routes for a sandbox that is not there."""
    return ProtocolError(404, f"sandbox \"{sandbox_id}\" doesn't exist or you don't have access to it")


def port_not_open(sandbox_id: str, port: int) -> ProtocolError:
    """Gives the answer of E2B's proxy for a port that nothing listens on."""
    message = "The sandbox is running but port is not open"
    return ProtocolError(502, message, sandboxId=sandbox_id, port=port)


def port_error(error: AgentError, sandbox_id: str, port: int) -> ProtocolError:
    """Gives the answer for a port that could not be dialled."""
    if error.code == "gone":
        return sandbox_not_found(sandbox_id)
    if error.code == "exhausted":
        return ProtocolError(503, error.message, sandboxId=sandbox_id, port=port)
    return port_not_open(sandbox_id, port)


def connect_error(error: AgentError) -> ConnectError:
    """Gives the Connect error for a failure inside a sandbox."""
    return ConnectError(_CONNECT_CODES.get(error.code, Code.INTERNAL), readable(error.message))


@contextmanager
def as_connect_errors() -> Iterator[None]:
    """Turns the `AgentError`s of a block into Connect errors."""
    try:
        yield
    except AgentError as error:
        raise connect_error(error) from error


@contextmanager
def as_file_errors() -> Iterator[None]:
    """Turns the `AgentError`s of a block into the refusals of `/files`."""
    try:
        yield
    except AgentError as error:
        raise ProtocolError(_FILE_STATUSES.get(error.code, 500), error.message) from error
