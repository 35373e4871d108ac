"""How panels look: the rules of `panel.css`, which each panel brings along.

Core widgets take no sheet of style, so it comes in an HTML widget of its own; equal rules said twice do no harm.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from ipywidgets import HTML


@cache
def _rules() -> str:
    return (files(__package__) / "panel.css").read_text(encoding="utf-8")


def sheet() -> Any:
    """Gives a widget that shows nothing and brings the style."""
    widget = HTML(f"<style>{_rules()}</style>")
    widget.add_class("e2b-sheet")
    return widget
