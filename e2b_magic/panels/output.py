"""Where a command's output is shown: the end of it, as it comes, in a box that stays at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from ipywidgets import HTML, Box

from e2b_magic.panels.ansi import Style, to_html
from e2b_magic.records import ExecutionResult
from e2b_magic.worker.protocol import Output

LINES: Final = 500
"""How many lines the page holds; the record has the rest."""
CHARACTERS: Final = 48 * 1024
"""How many characters the page holds."""
RATE: Final = 256 * 1024
"""How many characters a second are sent to the page at most: each change sends the whole of what it holds."""


class OutputBox(Box):  # type: ignore[misc]  # ipywidgets has no types
    """Shows pieces of output.

    Args:
        label: What a screen reader calls it.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._html: Any = HTML()
        super().__init__([self._html])
        self.add_class("e2b-well")
        self.tabbable = True  # so that the keyboard can scroll it
        self.show_pieces((), dropped=0)

    def show_pieces(self, pieces: Iterable[Output], *, dropped: int) -> None:
        """Shows the end of what was written.

        Args:
            pieces: The output in order.
            dropped: How many characters came before it.
        """
        kept, cut = _end(tuple(pieces))
        styles: dict[str, Style] = {}
        parts = []
        for piece in kept:
            text, styles[piece.stream] = to_html(piece.text, styles.get(piece.stream))
            parts.append(f'<span class="e2b-stderr">{text}</span>' if piece.stream == "stderr" else text)
        left_out = dropped + cut
        note = (
            f'<span class="e2b-quiet">… {left_out:,} characters before this are in the record\n</span>'
            if left_out
            else ""
        )
        self.layout.display = None if parts else "none"
        self._html.value = f'<pre role="log" aria-label="{self._label}">{note}{"".join(parts)}</pre>'

    async def carried(self) -> None:
        """Waits as long as what is shown takes at the rate that a page is given: more of it, fewer changes."""
        await asyncio.sleep(len(self._html.value) / RATE)

    def show_result(self, result: ExecutionResult) -> None:
        """Shows the end of what a past command wrote."""
        self.show_pieces((Output("stdout", result.stdout), Output("stderr", result.stderr)), dropped=0)


def _end(pieces: tuple[Output, ...]) -> tuple[list[Output], int]:
    """Gives the last lines of pieces, and how many characters come before."""
    kept: list[Output] = []
    characters, lines = CHARACTERS, LINES
    total = sum(len(piece.text) for piece in pieces)
    for piece in reversed(pieces):
        if characters <= 0 or lines <= 0:
            break
        text = piece.text[-characters:]
        parts = text.split("\n")
        if len(parts) > lines:
            text = "\n".join(parts[-lines:])
        elif len(text) < len(piece.text):
            text = text.partition("\n")[2] or text  # a line, or a sequence, that was cut is not begun with
        if text:
            kept.append(Output(piece.stream, text))
        characters, lines = characters - len(text), lines - text.count("\n")
    kept.reverse()
    return kept, total - sum(len(piece.text) for piece in kept)
