"""What of a sandbox's text may reach a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2b_magic.terminal import Cleaner, clean, one_line

TRICKY = st.text(st.sampled_from("ab\x1b[]0;31mJPX_\\^\x07\x9b\x9d\x08\n ("), max_size=40)


@pytest.mark.parametrize("text", ["plain", "a\tb\r\nc\n", "\x1b[1;31mred\x1b[0m", "12%\x08\x08\x0813%", "ünï 漢字"])
def test_text_and_colours_pass(text: str) -> None:
    """Text, line ends, tabs, backspaces and colours are shown as they are."""
    assert clean(text) == text


@pytest.mark.parametrize(
    "sequence",
    [
        "\x1b]0;title\x07",
        "\x1b]52;c;cm0gLXJm\x1b\\",
        "\x1b[2J",
        "\x1b[6n",
        "\x1bP+q\x1b\\",
        "\x1bc",
        "\x07",
        "\x9b2J",
        "\0",
    ],
)
def test_what_steers_a_terminal_is_taken_out(sequence: str) -> None:
    """Titles, clipboards, screens, questions to the terminal and bells do not pass."""
    assert clean(f"a{sequence}b").replace("2J", "") == "ab"


@given(TRICKY)
def test_nothing_but_colours_is_left(text: str) -> None:
    """However sequences are nested or cut, an escape that is left begins a colour."""
    cleaned = clean(text)
    for part in cleaned.split("\x1b")[1:]:
        assert part.startswith("["), cleaned
        assert part[1:].lstrip("0123456789;:").startswith("m"), cleaned
    assert not set(cleaned) & set("\x07\x9b\x9d\0")


@given(TRICKY, st.integers(0, 40))
def test_a_cut_makes_no_difference_to_safety(text: str, cut: int) -> None:
    """A stream that is cut in the middle of a sequence is as safe as the whole."""
    cleaner = Cleaner()
    whole = cleaner.feed(text[:cut]) + cleaner.feed(text[cut:]) + cleaner.end()
    assert clean(whole) == whole


def test_a_sequence_in_two_pieces_is_one() -> None:
    """A colour that arrives in two pieces is shown, a title that does is not."""
    cleaner = Cleaner()
    assert cleaner.feed("a\x1b[3") + cleaner.feed("1mb\x1b]0;ti") + cleaner.feed("tle\x07c") == "a\x1b[31mbc"


def test_an_endless_sequence_is_not_held_back_for_ever() -> None:
    """What never ends is taken for text, so memory is bounded and nothing is hidden."""
    cleaner = Cleaner()
    assert len(cleaner.feed("\x1b]" + "x" * 5000)) == 5001


def test_one_line_shows_what_is_not_printable() -> None:
    """In a table or an error, a line end is a space and any other control character an escape."""
    assert one_line("a\nb\x1b[31m\tc\n") == "a b\\x1b[31m\\tc"
