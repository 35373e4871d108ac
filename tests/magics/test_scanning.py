"""Where options end and raw text begins, and the shell's quoting in between."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2b_magic.magics.scanning import Piece, Scanned, UnclosedError, scan

TAKES_VALUE = {"--cwd": True, "--env": True, "--quiet": False}


def _scan(line: str, *, raw: bool) -> Scanned:
    return scan(line, TAKES_VALUE, raw=raw, expand=lambda piece: piece.text)


@pytest.mark.parametrize(
    ("line", "options", "rest"),
    [
        ("ls -la", (), "ls -la"),
        ("--quiet ls -la", ("--quiet",), "ls -la"),
        ("--cwd /tmp ls --quiet", ("--cwd=/tmp",), "ls --quiet"),
        ("--cwd=/tmp  ls", ("--cwd=/tmp",), "ls"),
        ("--quiet -- --strange", ("--quiet",), "--strange"),
        ("-- -- x", (), "-- x"),
        ("""--cwd "a b" echo 'a  b'""", ("--cwd=a b",), "echo 'a  b'"),
        ("""--env 'A=x"y' cat""", ('--env=A=x"y',), "cat"),
        (r"--cwd a\ b echo \$x", ("--cwd=a b",), r"echo \$x"),
        ("echo it's", (), "echo it's"),
        ("""'a b'/x "$(y)" | z > w -- q""", (), """'a b'/x "$(y)" | z > w -- q"""),
        ("--cwd", ("--cwd",), ""),
        ("--unknown ls", ("--unknown",), "ls"),
        ("", (), ""),
    ],
)
def test_options_end_where_the_command_begins(line: str, options: tuple[str, ...], rest: str) -> None:
    """Options are taken off the front; the command's text stays as it was written."""
    scanned = _scan(line, raw=True)
    assert (scanned.options, scanned.words, scanned.rest) == (options, (), rest)


@given(st.text(min_size=1).filter(lambda text: not text[0].isspace() and not text.startswith("-")))
def test_raw_text_is_never_touched(text: str) -> None:
    """Whatever follows the options, or `--`, comes out as it went in."""
    assert _scan(f"--quiet {text}", raw=True).rest == text
    assert _scan(f"--quiet -- {text}", raw=True).rest == text


@given(st.lists(st.text(st.characters(exclude_characters="{"))))
def test_words_are_the_shells(words: list[str]) -> None:
    """What is quoted as for a shell comes out as a shell would take it."""
    assert _scan(f"-- {shlex.join(words)}", raw=False).words == tuple(words)


def test_options_may_stand_behind_words() -> None:
    """A command that takes words takes its options anywhere, up to `--`."""
    assert _scan("a --quiet 'b c' --cwd d -- --quiet", raw=False) == Scanned(
        ("--quiet", "--cwd=d"), ("a", "b c", "--quiet"), closed=True
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a # b 'c", ("a",)),
        ("# a", ()),
        ("a#b '#' \\#", ("a#b", "#", "#")),
        ("--quiet a  #", ("a",)),
        ("-- a # b", ("a",)),
    ],
)
def test_a_comment_ends_a_line_of_words(line: str, words: tuple[str, ...]) -> None:
    """A word that begins with an unprotected `#` is a comment; a command's own text keeps its for the shell."""
    assert _scan(line, raw=False).words == words
    assert _scan(f"x {line}", raw=True).rest == f"x {line}"


def test_an_unclosed_quotation_is_refused() -> None:
    """A quotation that nothing closes is an error in an option, and the shell's own affair in a command."""
    with pytest.raises(UnclosedError, match='"'):
        _scan('--cwd "a b', raw=True)
    assert _scan('echo "a b', raw=True).rest == 'echo "a b'


def test_a_value_is_no_option() -> None:
    """What a Python value puts into a line is never taken for an option, so it cannot ask for a secret."""

    def hostile(piece: Piece) -> str:
        return piece.text.replace("{x}", "--env=SECRET")

    assert scan("{x}", TAKES_VALUE, raw=False, expand=hostile).words == ("--env=SECRET",)
    assert scan("{x}", TAKES_VALUE, raw=True, expand=hostile).rest == "{x}"


def test_a_brace_is_one_part_of_a_word() -> None:
    """An expression needs no quoting for the quotes and spaces that stand in it."""
    assert _scan("""--cwd {d["a b"]}/x ls""", raw=True) == Scanned(("""--cwd={d["a b"]}/x""",), (), "ls")
