"""Reading a magic's line: options first, then words, or then text that nobody touches.

`shlex.split` over the whole line would be shorter, and would eat the quotes, backslashes and `--` of the command
that is to reach the sandbox's shell. So this scanner takes one word at a time, in the shell's quoting, and stops where
the options end. What is an option is decided by the line as it is written: a Python value put in by `{…}` is never
taken for one, so a command that somebody else wrote cannot ask for `--env SECRET` by itself. Among words, a `#` at a
word's beginning starts a comment, as in the shell; in raw text it is left to that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

_ESCAPED_IN_DOUBLE: Final = '"\\$`{'


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a word, its quotes taken off.

    Attributes:
        text: The text.
        braces: Whether `{expression}` in it stands for a value: not after a backslash.
        dollars: Whether `$name` does: not in single quotes, as in the shell and in IPython.
    """

    text: str
    braces: bool = True
    dollars: bool = True


Expand = Callable[[Piece], str]


@dataclass(frozen=True, slots=True)
class Scanned:
    """A line taken apart.

    Attributes:
        options: Options as argparse reads them: `--name` or `--name=value`.
        words: The words after them; empty for a command that takes raw text.
        rest: The text after the options, as it was written; for a command that takes raw text.
        closed: Whether `--` said that no option follows.
    """

    options: tuple[str, ...]
    words: tuple[str, ...] = ()
    rest: str = ""
    closed: bool = False


class UnclosedError(ValueError):
    """A quotation is opened and not closed."""


def scan(line: str, takes_value: Mapping[str, bool], *, raw: bool, expand: Expand) -> Scanned:
    """Takes a line apart.

    Args:
        line: What stands after the command's name.
        takes_value: For each option whether a value follows it; any other word that begins with `-` is passed on,
            for argparse or its caller to refuse.
        raw: Whether text follows the options (`run`), or words, among which options may stand too (`ls`).
        expand: Puts Python values into a piece.

    Raises:
        UnclosedError: A quotation is not closed.
    """
    options: list[str] = []
    words: list[str] = []
    closed = False
    position = _skip_space(line, 0)
    while _at_word(line, position) if not raw else line.startswith("-", position):
        pieces, end = take_word(line, position)
        if not _is_option(line, position, end):
            if raw:
                break
            words.append("".join(map(expand, pieces)))
        elif line[position:end] == "--":
            closed = True
            position = _skip_space(line, end)
            if not raw:
                words.extend(_words(line, position, expand))
                position = len(line)
            break
        else:
            option = "".join(map(expand, pieces))
            after = _skip_space(line, end)
            if takes_value.get(option) and after < len(line):
                pieces, end = take_word(line, after)
                option = f"{option}={''.join(map(expand, pieces))}"
            options.append(option)
        position = _skip_space(line, end)
    return Scanned(tuple(options), tuple(words), line[position:], closed)


def _at_word(line: str, position: int) -> bool:
    return position < len(line) and line[position] != "#"


def _is_option(line: str, start: int, end: int) -> bool:
    return line[start] == "-" and end - start > 1


def _words(line: str, position: int, expand: Expand) -> list[str]:
    words = []
    while _at_word(line, position):
        pieces, end = take_word(line, position)
        words.append("".join(map(expand, pieces)))
        position = _skip_space(line, end)
    return words


def _skip_space(line: str, position: int) -> int:
    while position < len(line) and line[position].isspace():
        position += 1
    return position


def take_word(line: str, start: int) -> tuple[list[Piece], int]:
    """Gives the word that begins at `start`, and where it ends.

    Quotes and backslashes mean what they mean to the shell. A balanced `{…}` is one part of the word, whatever stands
    in it, so that `{names["a b"]}` needs no quoting.

    Raises:
        UnclosedError: A quotation is not closed.
    """
    pieces: list[Piece] = []
    position, in_double = start, False
    while position < len(line):
        character = line[position]
        if character.isspace() and not in_double:
            break
        if character == '"':
            in_double = not in_double
            pieces.append(Piece(""))
            position += 1
        elif character == "'" and not in_double:
            position = _take_single(line, position, pieces)
        elif character == "\\":
            position = _take_escaped(line, position, pieces, in_double)
        elif character == "{" and (end := balanced_end(line, position)):
            pieces.append(Piece(line[position:end]))
            position = end
        else:
            end = _plain_end(line, position, in_double)
            pieces.append(Piece(line[position:end]))
            position = end
    if in_double:
        raise UnclosedError('A " is not closed')
    return pieces, position


def _plain_end(line: str, position: int, in_double: bool) -> int:
    end = position + 1
    while end < len(line) and line[end] not in "\"'\\{" and (in_double or not line[end].isspace()):
        end += 1
    return end


def _take_single(line: str, position: int, pieces: list[Piece]) -> int:
    end = line.find("'", position + 1)
    if end < 0:
        raise UnclosedError("A ' is not closed")
    pieces.append(Piece(line[position + 1 : end], dollars=False))
    return end + 1


def _take_escaped(line: str, position: int, pieces: list[Piece], in_double: bool) -> int:
    escaped = line[position + 1 : position + 2]
    # In double quotes a backslash is itself before any other character: POSIX, 2.2.3.
    kept = escaped if not in_double or escaped in _ESCAPED_IN_DOUBLE else f"\\{escaped}"
    pieces.append(Piece(kept, braces=False, dollars=False))
    return position + 2


def balanced_end(text: str, start: int) -> int:
    """Gives the place after the `}` that closes the `{` at `start`; 0 when nothing closes it."""
    depth = 0
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position + 1
    return 0
