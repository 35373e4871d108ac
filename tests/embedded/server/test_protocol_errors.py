"""How a failure inside a sandbox is told: each code by a status of its own, and none by 500 unless it is one."""

from __future__ import annotations

import pytest
from connectrpc.code import Code

from e2b_magic.embedded.sandbox.entries import CODES
from e2b_magic.embedded.sandbox.sandbox import AgentError
from e2b_magic.embedded.server.protocol_errors import ProtocolError, as_file_errors, connect_error, port_error

STATUSES = {
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
    "internal": 500,
}


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_its_status(code: str) -> None:
    """What cannot be done with a file is told by the status that says whose fault it is."""
    with pytest.raises(ProtocolError) as raised, as_file_errors():
        raise AgentError(code, "the reason")
    assert (raised.value.status, raised.value.message) == (STATUSES[code], "the reason")


def test_a_lack_of_descriptors_is_not_a_closed_port() -> None:
    """A port that could not be dialled is told apart from one that is closed, and from a sandbox that is gone."""
    assert port_error(AgentError("not_found", "x"), "id", 80).message == "The sandbox is running but port is not open"
    exhausted = port_error(AgentError("exhausted", "too many files open"), "id", 80)
    assert (exhausted.status, exhausted.message) == (503, "too many files open")
    assert exhausted.response().headers["should-retry"] == "false"
    assert port_error(AgentError("gone", "x"), "id", 80).message == "The sandbox was not found"


def test_a_lack_is_no_rate_limit() -> None:
    """To Connect's clients a lack of descriptors is a failure of the server's; the SDK takes another for a limit."""
    assert connect_error(AgentError("exhausted", "x")).code == Code.INTERNAL
