"""A list shown in pages, each row a flat button: reached by Tab, pressed by Enter or Space, its text never HTML.

Not a Select: that one tells of no second click on the same row, and moving in it by arrow keys would already open
what is passed over. The buttons are made once and labelled anew for each page.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ipywidgets import HTML, Box, Button, HBox, VBox

from e2b_magic.panels.view import close_all
from e2b_magic.terminal import one_line


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its text, which is cut by the page where it is too long, and the whole for whoever points at it.

    Attributes:
        text: What it says.
        whole: What it says when it is pointed at.
        chosen: Whether it is the one that is shown below the list.
        columns: What stands before the text; on a narrow page the text has a line of its own below them.
    """

    text: str
    whole: str
    chosen: bool = False
    columns: str = ""


class Rows(VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A page of rows, and the way to the other pages.

    Args:
        pressed: Called with a row's place on the page, in the kernel's thread.
        turned: Called with -1 or 1 when another page is wanted.
        heading: The columns' names, in the rows' own spacing.
        empty: What to say when there are no rows.

    Attributes:
        drawing: Held by whoever looks up what is to be shown until it is. A page is turned in the kernel's thread and
            brought up to date on the client's loop: what was looked up first would else cover what came after it.
    """

    def __init__(
        self, pressed: Callable[[int], None], turned: Callable[[int], None], *, heading: str = "", empty: str
    ) -> None:
        self._pressed = pressed
        self._empty = empty
        self._pool: list[Any] = []
        self.drawing = threading.RLock()
        self._making = threading.Lock()
        self._closed = False
        above = [HTML(html.escape(heading))] if heading else []
        for widget in above:
            widget.add_class("e2b-head")
        self._list = Box()
        self._list.add_class("e2b-rows")
        self._where = HTML()
        hidden = {"display": "none"}
        self.earlier = Button(
            description="Previous", icon="chevron-left", tooltip="The page before this one", layout=hidden
        )
        self.later = Button(description="Next", icon="chevron-right", tooltip="The page after this one", layout=hidden)
        self.earlier.on_click(lambda _: turned(-1))
        self.later.on_click(lambda _: turned(1))
        self._pager = HBox([self.earlier, self.later, self._where])
        self._pager.add_class("e2b-line")
        super().__init__([*above, self._list, self._pager])

    def show_page(self, rows: Sequence[Row], *, where: str, earlier: bool, later: bool) -> None:
        """Shows a page.

        Args:
            rows: Its rows.
            where: Which part of the whole it is.
            earlier: Whether a page is before it.
            later: Whether a page is after it.
        """
        self._make_buttons(len(rows))
        for button, row in zip(self._pool, rows, strict=False):
            with button.hold_sync():
                button.description = f"{row.columns}\t{one_line(row.text)}" if row.columns else _indented(row.text)
                button.tooltip = one_line(row.whole)
                button._dom_classes = ("e2b-row", "e2b-chosen") if row.chosen else ("e2b-row",)  # noqa: SLF001  one message instead of two
        shown = tuple(self._pool[: len(rows)])
        if self._list.children != shown:
            self._list.children = shown
        self._where.value = html.escape(where if rows else self._empty)
        self.earlier.disabled, self.later.disabled = not earlier, not later
        self.earlier.layout.display = self.later.layout.display = None if earlier or later else "none"
        self._pager.layout.display = None if earlier or later or not rows else "none"

    def tell(self, text: str) -> None:
        """Says why there are no rows."""
        self._where.value = html.escape(text)
        self._pager.layout.display = None

    def _make_buttons(self, count: int) -> None:
        # On the client's loop, while `close` may come in the kernel's thread: what it does not see would stay for ever.
        with self._making:
            while len(self._pool) < count and not self._closed:
                self._pool.append(self._button(len(self._pool)))

    def _button(self, place: int) -> Any:
        # Layout and style are shared: two models for all rows instead of two for each.
        first = self._pool[0] if self._pool else None
        shared = {"layout": first.layout, "style": first.style} if first else {}
        button = Button(**shared)
        button.on_click(lambda _: self._pressed(place))
        return button

    def close(self) -> None:
        """Closes the rows, those that no page shows now included."""
        with self._making:
            self._closed = True
        close_all(tuple(self._pool))
        super().close()


def _indented(text: str) -> str:
    """Gives a text on one line, with the spaces that it begins with."""
    return " " * (len(text) - len(text.lstrip(" "))) + one_line(text)
