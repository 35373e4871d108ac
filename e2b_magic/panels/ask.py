"""A question in the panel itself: a core widget has no dialog, and one of the browser's own would block the page."""

from __future__ import annotations

import html
from collections.abc import Callable

from ipywidgets import HTML, HBox, Text

from e2b_magic.panels.controls import button
from e2b_magic.panels.escape import ends, escape
from e2b_magic.panels.fields import on_enter
from e2b_magic.terminal import one_line


class Ask(HBox):  # type: ignore[misc]  # ipywidgets has no types
    """Asks for a text or for a yes, one question at a time, and is not seen otherwise."""

    def __init__(self) -> None:
        self._act: Callable[[str], object] | None = None
        self._question = HTML()
        self.answer = Text(continuous_update=False)
        self.yes = button("OK", "Do it", self._agree)
        self.no = ends(button("Cancel", "Do nothing (Escape)", self.dismiss))
        on_enter(self.answer, self._agree)
        super().__init__([escape(), self._question, self.answer, self.yes, self.no], layout={"display": "none"})
        self.add_class("e2b-line")

    def for_text(self, question: str, value: str, yes: str, act: Callable[[str], object]) -> None:
        """Asks for a text, which is not empty when `act` is called with it."""
        self.answer.value = value
        self.answer.layout.display = None
        self._show(question, yes, act, style="primary")
        self.answer.focus()

    def for_yes(self, question: str, yes: str, act: Callable[[], object]) -> None:
        """Asks whether something that cannot be undone is meant."""
        self.answer.layout.display = "none"
        self._show(question, yes, lambda _: act(), style="danger")
        self.no.focus()  # so that Enter, pressed too soon, does no harm

    def _show(self, question: str, yes: str, act: Callable[[str], object], *, style: str) -> None:
        self._act = act
        self._question.value = f'<span role="alert">{html.escape(one_line(question))}</span>'
        self.yes.description, self.yes.button_style = yes, style
        self.layout.display = None

    def dismiss(self) -> None:
        """Takes the question back."""
        self._act = None
        self.layout.display = "none"

    def _agree(self) -> None:
        act, text = self._act, self.answer.value.strip()
        if act is not None and (text or self.answer.layout.display == "none"):
            self.dismiss()
            act(text)
