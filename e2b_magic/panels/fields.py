"""Text fields: what Enter means in one, and one for what must not be kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from ipywidgets import Password
from traitlets import Unicode

_UNDERWAY: Final = 0.4
"""How long after Enter the text that was typed before it may still be on its way, in seconds."""
_BEHIND: Final = 0.1
"""How late a loop may wake to have kept up with what it is sent, in seconds."""


def on_enter(field: Any, act: Callable[[], None]) -> None:
    """Calls a function when Enter is pressed in a field, once the kernel has the text.

    A core field says "submit" at Enter and sends what was typed, if that is new, right after it. So the text is waited
    for a moment; when none comes it was there already.

    Args:
        field: A Text or Combobox, made with `continuous_update=False`: it sends its text at Enter, and when it is left.
        act: Called in any thread.
    """
    waiting = False

    def fire() -> None:
        nonlocal waiting
        if waiting:
            waiting = False
            act()

    def wait() -> None:
        # On the loop by which the front end's messages come: no other can tell whether some lie there unread.
        loop = asyncio.get_running_loop()
        loop.call_later(_UNDERWAY, settle, loop, loop.time() + _UNDERWAY)

    def settle(loop: asyncio.AbstractEventLoop, due: float) -> None:
        if loop.time() - due > _BEHIND:
            wait()
        elif field.comm is not None:  # else it was closed meanwhile
            fire()

    def submitted(_: Any, content: dict[str, Any], buffers: Any) -> None:
        nonlocal waiting
        if content.get("event") == "submit":
            waiting = True
            wait()

    field.on_msg(submitted)
    field.observe(lambda change: fire(), "value")


class SecretField(Password):  # type: ignore[misc]  # ipywidgets has no types
    """A field that hands over what is entered and keeps nothing: not in its state, so not in a saved notebook.

    Args:
        take: Called with the text when Enter is pressed or the field is left.
        settings: What a `Password` takes.
    """

    value = Unicode("").tag(sync=True, echo_update=False)

    def __init__(self, take: Callable[[str], None], **settings: Any) -> None:
        super().__init__(continuous_update=False, **settings)
        self._take = take
        self.observe(self._entered, "value")

    def _entered(self, change: Any) -> None:
        entered = change["new"]
        if entered:
            self.value = ""
            self._take(entered)
