"""The tree of errors."""

from __future__ import annotations

import pytest

from e2b_magic import exceptions
from e2b_magic.exceptions import E2BMagicError, from_code

CLASSES = [value for value in vars(exceptions).values() if isinstance(value, type) and issubclass(value, E2BMagicError)]


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_a_code_gives_its_class_back(error: type[E2BMagicError]) -> None:
    """Every class survives the way through a worker's error answer."""
    back = from_code(error.code, "what went wrong")
    assert type(back) is error
    assert str(back) == "what went wrong"


def test_codes_are_told_apart() -> None:
    """No two classes share a code."""
    assert len({error.code for error in CLASSES}) == len(CLASSES)


def test_an_unknown_code_is_still_an_error() -> None:
    """An answer from a newer worker becomes the base class, with its text."""
    assert type(from_code("of_the_future", "text")) is E2BMagicError


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_each_class_is_drawn_in_the_tree(error: type[E2BMagicError]) -> None:
    """The tree in the module's docstring names every class."""
    assert error.__name__ in (exceptions.__doc__ or "")
