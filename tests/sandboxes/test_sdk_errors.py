"""The map from the SDK's errors to ours."""

from __future__ import annotations

import inspect
import traceback

import e2b.exceptions as sdk
import httpx
import pytest

from e2b_magic.exceptions import BackendError, E2BMagicError, InvalidRequestError, SandboxGoneError
from e2b_magic.sandboxes.sdk_errors import MAP, translate, translating

THEIRS = [
    value
    for value in vars(sdk).values()
    if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == sdk.__name__
]


def _make(kind: type[Exception], text: str) -> Exception:
    error = kind.__new__(kind)
    Exception.__init__(error, text)
    return error


@pytest.mark.parametrize("kind", THEIRS, ids=lambda kind: kind.__name__)
def test_no_error_of_the_sdk_is_unmapped(kind: type[Exception]) -> None:
    """Every class that the installed SDK can raise has a place in the map, and becomes one line."""
    error = _make(kind, "what happened\nand more")
    assert any(isinstance(error, theirs) for theirs, _ in MAP)
    assert "\n" not in str(translate(error))


def test_a_subclass_is_not_shadowed_by_its_parent() -> None:
    """In the map every class stands before its parents, else it would never be reached."""
    for place, (theirs, _) in enumerate(MAP):
        assert not any(issubclass(theirs, earlier) for earlier, _ in MAP[:place]), theirs


def test_what_is_unknown_is_named_by_its_kind_only() -> None:
    """An unexpected error becomes a BackendError, and its text, which may quote anything, is left out."""
    error = translate(LookupError("e2b_secret"))
    assert type(error) is BackendError
    assert "LookupError" in str(error)
    assert "secret" not in str(error)


def test_the_translated_error_carries_no_trace_of_the_sdk() -> None:
    """A traceback with locals, as `%xmode Verbose` prints one, does not show the SDK's frames, which hold the key."""

    def call(api_key: str) -> None:
        raise sdk.SandboxNotRunningException(f"with {api_key}")

    with pytest.raises(SandboxGoneError) as caught, translating():
        call("e2b_canary")
    text = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "e2b_canary" not in text


def test_our_own_errors_pass_through() -> None:
    """An error that is ours already is not translated again."""
    with pytest.raises(InvalidRequestError, match="mine"), translating():
        raise InvalidRequestError("mine")


def test_a_broken_connection_means_an_unknown_outcome() -> None:
    """When the connection breaks after a request was sent, the message does not pretend to know."""
    assert translate(httpx.ReadError("reset")).code == "outcome_unknown"
    assert translate(httpx.ConnectError("refused")).code == "sandbox_unreachable"
    assert isinstance(translate(OSError("broken pipe")), E2BMagicError)


@pytest.mark.parametrize("code", ["403", "Code.PERMISSION_DENIED"])
def test_the_text_is_told_without_its_code(code: str) -> None:
    """What the SDK knows no exception of its own for is told in the server's words alone."""
    assert str(translate(sdk.SandboxException(f"{code}: '/etc/x': read-only file system"))) == (
        "'/etc/x': read-only file system"
    )
