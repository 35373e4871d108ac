"""The bounded output buffer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from e2b_magic.output import OutputBuffer


def test_short_output_is_kept_whole() -> None:
    """What fits is given back to the letter."""
    buffer = OutputBuffer(half=5)
    for piece in ("abc", "", "defgh", "ij"):
        buffer.append(piece)
    assert buffer.text() == "abcdefghij"
    assert not buffer.truncated


def test_long_output_keeps_its_ends() -> None:
    """Of what does not fit the beginning and the end are kept, and the gap says how much is missing."""
    buffer = OutputBuffer(half=3)
    buffer.append("0123456789")
    assert buffer.text() == "012\n[… 4 characters left out …]\n789"
    assert buffer.truncated


@given(st.lists(st.text(max_size=12)), st.integers(min_value=1, max_value=9))
def test_pieces_do_not_matter(pieces: list[str], half: int) -> None:
    """However the stream is cut into pieces, the same is kept."""
    whole, cut = OutputBuffer(half), OutputBuffer(half)
    whole.append("".join(pieces))
    for piece in pieces:
        cut.append(piece)
    assert cut.text() == whole.text()


def test_memory_is_bounded() -> None:
    """A hundred megabytes without a newline leave no more than the bound behind."""
    buffer = OutputBuffer(half=1000)
    for _ in range(100):
        buffer.append("x" * 1_000_000)
    assert len(buffer.text()) < 2100
