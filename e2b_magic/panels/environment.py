"""The variables of the commands that a panel runs: their names are shown, their values are in memory alone."""

from __future__ import annotations

import html
import os
from typing import TYPE_CHECKING

from ipywidgets import HTML, HBox

from e2b_magic.client.options import Unseen
from e2b_magic.exceptions import InvalidRequestError
from e2b_magic.panels.controls import FITTING, button
from e2b_magic.panels.fields import SecretField

if TYPE_CHECKING:
    from e2b_magic.panels.view import View


class Environment(HBox):  # type: ignore[misc]  # ipywidgets has no types
    """Takes variables one by one.

    Args:
        view: Whose message line tells of slips.

    Attributes:
        values: The variables, whose values no repr shows.
    """

    def __init__(self, view: View) -> None:
        self.values = Unseen()
        self._view = view
        self._field = SecretField(
            self.add,
            description="Variable",
            placeholder="NAME=value, or NAME for this kernel's",
            style=FITTING,
        )
        self._names = HTML()
        self._clear = button("Forget", "Forget every variable", self.forget)
        super().__init__([self._field, self._names, self._clear])
        self.add_class("e2b-line")
        self._tell()

    def add(self, text: str) -> None:
        """Takes `NAME=value`, or `NAME` for the variable of this kernel's environment."""
        name, equals, value = text.partition("=")
        name = name.strip()
        if not name.isidentifier():
            self._slip("Write NAME=value, or NAME alone to hand on this kernel's variable")
        elif not equals and name not in os.environ:
            self._slip(f"{name} is not set in this kernel's environment: write {name}=value")
        else:
            self.values = Unseen({**self.values, name: value if equals else os.environ[name]})
            self._view.message.clear()
        self._tell()

    def _slip(self, text: str) -> None:
        self._view.message.fail(InvalidRequestError(text))

    def forget(self) -> None:
        """Forgets every variable."""
        self.values = Unseen()
        self._tell()

    def _tell(self) -> None:
        self._names.value = html.escape(", ".join(self.values)) or '<span class="e2b-quiet">none</span>'
        self._clear.layout.display = None if self.values else "none"
