"""Making a sandbox's text safe to show: colours pass, whatever else would steer a terminal does not.

What runs in a sandbox may write escape sequences that set a window's title, fill the clipboard (OSC 52) or have the
terminal type an answer. A notebook ignores them, a terminal obeys. The record keeps the text as it was written.
"""

from __future__ import annotations

import re
from typing import Final

# ECMA-48: CSI … final byte; OSC, DCS, SOS, PM and APC up to BEL or ST; two-character escapes.
_SEQUENCE: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|\x1b[ -/]*[0-OQ-WYZ`-~\\]"
)
_COLOUR: Final = re.compile(r"\x1b\[[0-9;:]*m")
_UNFINISHED: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")
_CONTROL: Final = re.compile(r"[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]|\x1b(?!\[[0-9;:]*m)")
_LONGEST: Final = 4096  # more than this of an unfinished sequence is not held back: it is none


def clean(text: str) -> str:
    """Gives a text without control characters and sequences, other than colours, line ends, tabs and backspaces."""
    if text.isprintable():
        return text
    text = _SEQUENCE.sub(lambda match: match[0] if _COLOUR.fullmatch(match[0]) else "", text)
    return _CONTROL.sub("", text)


def plain(text: str) -> str:
    """Gives a text without control sequences, colours among them."""
    return _SEQUENCE.sub("", text)


def one_line(text: str) -> str:
    """Gives a text as one printable line; what is not printable is shown as an escape, as in a Python string."""
    joined = " ".join(text.split("\n")).strip()
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in joined)


class Cleaner:
    """Cleans a stream that comes in pieces, which may end in the middle of a sequence."""

    def __init__(self) -> None:
        self._held = ""

    @property
    def holds(self) -> bool:
        """Whether the beginning of a sequence is held back."""
        return bool(self._held)

    def feed(self, text: str) -> str:
        """Gives what can be shown by now."""
        text, self._held = self._held + text, ""
        unfinished = _UNFINISHED.search(text)
        if unfinished and len(text) - unfinished.start() <= _LONGEST:
            text, self._held = text[: unfinished.start()], unfinished[0]
        return clean(text)

    def end(self) -> str:
        """Gives what was held back, cleaned."""
        held, self._held = self._held, ""
        return clean(held)
