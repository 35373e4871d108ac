"""The controls that every tab is made of, each with its name, its explanation and what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ipywidgets import Button, HBox

FITTING: Final = {"description_width": "initial"}
"""The style of a field whose label takes the room that it needs."""


def button(name: str, tooltip: str, act: Callable[[], object], **settings: Any) -> Button:
    """Gives a button.

    Args:
        name: What stands on it.
        tooltip: What it does, in a phrase.
        act: Called in the kernel's thread when it is pressed.
        settings: What else a `Button` takes.
    """
    made = Button(description=name, tooltip=tooltip, **settings)
    made.on_click(lambda _: act())
    return made


def line(*widgets: Any) -> HBox:
    """Gives widgets beside each other, in as many lines as a narrow page needs."""
    made = HBox(widgets)
    made.add_class("e2b-line")
    return made


def card(facts: Mapping[str, str]) -> str:
    """Gives in HTML what has a value of names and values, the values being HTML already."""
    rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in facts.items() if value)
    return f'<table class="e2b-card">{rows}</table>'
