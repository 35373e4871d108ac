"""A sandbox's text as HTML in which nothing is live: everything escaped, colours and the like as spans of our own.

What a terminal would do beyond colours is taken out (`terminal.clean`), except that a carriage return begins its line
again and a backspace takes a character back, as progress bars need it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from e2b_magic.terminal import clean

_COLOUR: Final = re.compile(r"\x1b\[([0-9;:]*)m")
_LEVELS: Final = (0, 95, 135, 175, 215, 255)  # of the six levels of each colour in xterm's 256 colours
_SWITCHES: Final = {
    1: ("bold", True),
    2: ("dim", True),
    3: ("italic", True),
    4: ("underline", True),
    7: ("inverse", True),
    9: ("strike", True),
    22: ("bold dim", False),
    23: ("italic", False),
    24: ("underline", False),
    27: ("inverse", False),
    29: ("strike", False),
}


@dataclass(frozen=True, slots=True)
class Style:
    """How text looks: a colour is the number of one of the sixteen, or `#rrggbb`."""

    colour: int | str | None = None
    background: int | str | None = None
    switches: frozenset[str] = field(default_factory=frozenset)

    def after(self, codes: Sequence[int]) -> Style:
        """Gives the style after a sequence of SGR codes (ECMA-48, 8.3.117)."""
        style, rest = self, list(codes) or [0]
        while rest:
            style = style._after_one(rest.pop(0), rest)
        return style

    def _after_one(self, code: int, rest: list[int]) -> Style:
        if code == 0:
            return Style()
        if code in _SWITCHES:
            names, on = _SWITCHES[code]
            changed = self.switches | set(names.split()) if on else self.switches - set(names.split())
            return replace(self, switches=changed)
        if code in (38, 48):
            chosen = _extended(rest)
            return replace(self, colour=chosen) if code == 38 else replace(self, background=chosen)
        for first, bright in ((30, 0), (90, 8)):
            if first <= code <= first + 7:
                return replace(self, colour=code - first + bright)
            if first + 10 <= code <= first + 17:
                return replace(self, background=code - first - 10 + bright)
        if code == 39:
            return replace(self, colour=None)
        return replace(self, background=None) if code == 49 else self

    def tag(self) -> str:
        """Gives the opening tag of a span in this style; nothing for plain text."""
        classes = [f"e2b-{name}" for name in sorted(self.switches)]
        styles = []
        for value, prefix, rule in ((self.colour, "fg", "color"), (self.background, "bg", "background-color")):
            if isinstance(value, int):
                classes.append(f"e2b-{prefix}-{value}")
            elif value is not None:
                styles.append(f"{rule}:{value}")
        parts = [f' class="{" ".join(classes)}"'] if classes else []
        parts += [f' style="{";".join(styles)}"'] if styles else []
        return f"<span{''.join(parts)}>" if parts else ""


def _extended(rest: list[int]) -> int | str | None:
    """Takes the rest of `38;5;N` or `38;2;R;G;B` off the codes and gives the colour."""
    kind = rest.pop(0) if rest else None
    if kind == 5 and rest:
        number = rest.pop(0)
        if number < 16:
            return number
        if number < 232:
            number -= 16
            return _hexadecimal(_LEVELS[number // 36], _LEVELS[number // 6 % 6], _LEVELS[number % 6])
        return _hexadecimal(*[8 + 10 * (number - 232)] * 3)
    if kind == 2 and len(rest) >= 3:
        return _hexadecimal(rest.pop(0), rest.pop(0), rest.pop(0))
    return None


def _hexadecimal(*levels: int) -> str:
    return "#" + "".join(f"{min(level, 255):02x}" for level in levels)


def _as_seen(text: str) -> str:
    """Gives the text as it stands on a screen in the end, where lines were written over and characters taken back."""
    if "\r" in text:
        text = "\n".join(map(_last_version, text.split("\n")))
    return clean(_without_taken_back(text)) if "\b" in text else text


def _last_version(line: str) -> str:
    versions = line.rstrip("\r").rsplit("\r", 1)
    return versions[-1]


def _without_taken_back(text: str) -> str:
    # Not by a pattern, which would look at a hostile text as often as it has backspaces.
    kept: list[str] = []
    for character in text:
        if character != "\b":
            kept.append(character)
        elif kept and kept[-1] != "\n":
            kept.pop()
    return "".join(kept)


def _codes(parameters: str) -> list[int]:
    # Numbers of more than nine digits are no codes, and int() of thousands of digits raises.
    return [int(code[:9] or 0) for code in re.split("[;:]", parameters)]


def _spans(text: str, style: Style) -> Iterator[tuple[str, Style]]:
    position = 0
    for sequence in _COLOUR.finditer(text):
        yield text[position : sequence.start()], style
        style, position = style.after(_codes(sequence[1])), sequence.end()
    yield text[position:], style


def to_html(text: str, style: Style | None = None) -> tuple[str, Style]:
    """Gives a text as inert HTML, and the style in which more text of the same stream begins.

    Args:
        text: What was written.
        style: The style in which it begins; plain when left out.
    """
    parts: list[str] = []
    last = style or Style()
    for piece, last in _spans(_as_seen(clean(text)), last):  # noqa: B020  the last style is what more text begins in
        if piece:
            tag = last.tag()
            parts.append(f"{tag}{html.escape(piece)}</span>" if tag else html.escape(piece))
    return "".join(parts), last
