"""How far a long transfer has come: a bar in a notebook, a line in a terminal, nothing where nobody watches.

A bar appears only once the transfer has taken a moment, so that small ones leave no trace in the cell, and goes when it
is over, since the line that follows says all there is to say.
"""

from __future__ import annotations

import html
import sys
import time
from types import TracebackType
from typing import Any, Final, Self

from e2b_magic.magics.streaming import is_kernels
from e2b_magic.quantities import share, size

PATIENCE: Final = 0.5
"""Seconds that a transfer may take without a bar."""
EVERY: Final = 0.1
"""Seconds between two changes of the bar."""
WIDTH: Final = 30
"""The width of a terminal's bar, in characters."""


class ProgressBar:
    """A bar, in a `with` statement; to be called with the bytes that have gone and those that there are.

    Args:
        title: What is going on.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._began = self._shown = time.monotonic()
        self._line_shown = False
        self._handle: Any = None  # IPython's DisplayHandle, which has no annotations

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.update({"text/plain": "", "text/html": ""}, raw=True)
        if self._line_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def __call__(self, done: int, total: int) -> None:
        """Shows how far it is; without an end of the bar while `total` is 0, since nobody knows it yet."""
        now = time.monotonic()
        if now - self._began < PATIENCE or (now - self._shown < EVERY and done != total):
            return
        self._shown = now
        if is_kernels(sys.stderr):
            self._show_in_notebook(done, total)
        elif sys.stderr.isatty():
            self._show_in_terminal(done, total)

    def _words(self, done: int, total: int) -> str:
        speed = done / max(time.monotonic() - self._began, 1e-3)
        left = f", {(total - done) / speed:,.0f} s left" if done and total else ""
        return f"{share(done, total)}, {size(round(speed))}/s{left}"

    def _show_in_notebook(self, done: int, total: int) -> None:
        from IPython import display

        show: Any = display.display  # without annotations in IPython
        words = self._words(done, total)
        label = html.escape(f"{self._title}: {words}")
        value = f' max="{total}" value="{done}"' if total else ""
        bundle = {
            "text/plain": f"{self._title}: {words}",
            "text/html": f"<label><progress{value}></progress> {label}</label>",
        }
        if self._handle is None:
            self._handle = show(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def _show_in_terminal(self, done: int, total: int) -> None:
        filled = WIDTH * done // total if total else 0
        bar = "█" * filled + "░" * (WIDTH - filled)
        sys.stderr.write(f"\r\x1b[K{self._title} {bar} {self._words(done, total)}")
        sys.stderr.flush()
        self._line_shown = True
