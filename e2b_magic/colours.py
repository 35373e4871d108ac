"""A terminal's colours as HTML: what a program wrote with SGR sequences becomes spans, all else is escaped text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from e2b_magic.terminal import clean

_SGR: Final = re.compile(r"\x1b\[([0-9;:]*)m")
_OVERWRITTEN: Final = re.compile(r"[^\n]*\r(?=[^\n])")  # what a progress bar wrote before its last state
_CHARACTER_BACK: Final = re.compile(r"[^\n\x08]\x08")
# The sixteen colours of a terminal, chosen to be read on white and on black (those that Jupyter's own output has).
_PALETTE: Final = (
    *("#3e424d", "#e75c58", "#00a250", "#ddb62b", "#208ffb", "#d160c4", "#60c6c8", "#c5c1b4"),
    *("#282c36", "#b22b31", "#007427", "#b27d12", "#0065ca", "#a03196", "#258f8f", "#a1a6b2"),
)
_SWITCHES: Final[dict[int, dict[str, bool]]] = {
    1: {"bold": True},
    2: {"dim": True},
    3: {"italic": True},
    4: {"underlined": True},
    22: {"bold": False, "dim": False},
    23: {"italic": False},
    24: {"underlined": False},
}


@dataclass(frozen=True, slots=True)
class _Style:
    colour: Any = ""  # a text; as one, mypy would have the switches be texts too
    background: Any = ""
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underlined: bool = False

    def css(self) -> str:
        parts = {
            f"color:{self.colour}": bool(self.colour),
            f"background-color:{self.background}": bool(self.background),
            "font-weight:bold": self.bold,
            "opacity:0.7": self.dim,
            "font-style:italic": self.italic,
            "text-decoration:underline": self.underlined,
        }
        return ";".join(part for part, wanted in parts.items() if wanted)


def to_html(text: str) -> str:
    """Gives a text as HTML that shows its colours; no markup of the text's own survives."""
    text = clean(text.replace("\r\n", "\n"))
    while "\b" in text and (shorter := _CHARACTER_BACK.sub("", text)) != text:
        text = shorter
    return "".join(_spans(_OVERWRITTEN.sub("", text)))


def _spans(text: str) -> Iterator[str]:
    style, position = _Style(), 0
    for match in _SGR.finditer(text):
        yield _span(text[position : match.start()], style)
        style, position = _changed(style, match[1]), match.end()
    yield _span(text[position:], style)


def _span(text: str, style: _Style) -> str:
    escaped, css = html.escape(text), style.css()
    return f'<span style="{css}">{escaped}</span>' if css and text else escaped


def _changed(style: _Style, codes: str) -> _Style:
    """Gives a style after the codes of one sequence (ECMA-48, 8.3.117)."""
    numbers = iter([int(code or 0) for code in re.split("[;:]", codes)])
    for code in numbers:
        if code == 0:
            style = _Style()
        elif code in _SWITCHES:
            style = replace(style, **_SWITCHES[code])
        elif code in (38, 39):
            style = replace(style, colour=_extended(numbers) if code == 38 else "")
        elif code in (48, 49):
            style = replace(style, background=_extended(numbers) if code == 48 else "")
        elif 30 <= code % 60 <= 37 and code < 100:
            style = replace(style, colour=_PALETTE[code % 60 - 30 + (8 if code >= 90 else 0)])
        elif code in range(40, 48) or code in range(100, 108):
            style = replace(style, background=_PALETTE[code % 60 - 40 + (8 if code >= 100 else 0)])
    return style


def _extended(numbers: Iterator[int]) -> str:
    """Gives the colour that follows 38 or 48: `5;N` of 256, or `2;R;G;B`; none when it is cut short."""
    kind = next(numbers, 0)
    if kind == 2:
        red, green, blue = (min(next(numbers, 0), 255) for _ in range(3))
        return f"#{red:02x}{green:02x}{blue:02x}"
    if kind != 5:
        return ""
    number = next(numbers, 0)
    if number < len(_PALETTE):
        return _PALETTE[number]
    if number < 232:  # a cube of six steps each way
        steps = (number - 16) // 36, (number - 16) // 6 % 6, (number - 16) % 6
        return "#" + "".join(f"{55 + 40 * step if step else 0:02x}" for step in steps)
    grey = min(8 + 10 * (number - 232), 238)
    return f"#{grey:02x}{grey:02x}{grey:02x}"
