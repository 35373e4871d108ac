"""The Escape key: in a panel it presses the button that ends what goes on there.

Core widgets tell the kernel of one key alone, Enter in a text field, so the page has to listen. An HTML widget may do
that by an event handler in its text; a script element there would not run. The handler is a constant: nothing that a
user, a kernel or a sandbox has written is part of it. It looks at its own panel only, lets every key go on to whoever
else waits for it, and ends with the panel's part of the page. Where a page allows no inline handlers, the key does
nothing there and the button is what it was.
"""

from __future__ import annotations

import html
from typing import Any, Final

from ipywidgets import HTML

ENDS: Final = "e2b-ends"
"""The class of the buttons that Escape presses."""

# Once for each panel on the page, however often its part is taken out and put back. Before the fields hear of the key,
# since core ones keep it to themselves. Not while it ends a composition of an input method, nor again while it is held.
_LISTEN: Final = f"""
const panel = this.closest(".e2b");
if (panel && !panel.heedsEscape) {{
  panel.heedsEscape = true;
  panel.addEventListener("keydown", (event) => {{
    const alone = !(event.ctrlKey || event.altKey || event.shiftKey || event.metaKey);
    if (event.key !== "Escape" || !alone || event.isComposing || event.repeat) return;
    const buttons = [...panel.querySelectorAll("button.{ENDS}:enabled")];
    buttons.find((button) => button.offsetParent)?.click();
  }}, true);
}}
"""


def ends(button: Any) -> Any:
    """Makes a button one that Escape presses, when it can be pressed and is seen; gives it back."""
    button.add_class(ENDS)
    return button


def escape() -> Any:
    """Gives a widget that shows nothing and has the panel that it is put into heed the Escape key."""
    # An empty style sheet is the element that tells of its loading and asks for nothing over the network.
    widget = HTML(f'<style onload="{html.escape(_LISTEN)}"></style>')
    widget.add_class("e2b-sheet")
    return widget
