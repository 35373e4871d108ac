"""What of one tree is to go from another."""

from __future__ import annotations

import pytest

from e2b_magic.client.trees.comparing import topmost


@pytest.mark.parametrize(
    ("names", "top"),
    [
        ([], []),
        (["src", "src/x", "src.txt"], ["src", "src.txt"]),
        (["a-b", "a/b/c", "a", "a/b"], ["a", "a-b"]),
        (["a/b", "a/c", "ab"], ["a/b", "a/c", "ab"]),
    ],
)
def test_to_remove_the_topmost_removes_all(names: list[str], top: list[str]) -> None:
    """A name below another is left out, whatever signs the names begin with."""
    assert topmost(names) == top
