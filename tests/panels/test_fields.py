"""Text fields: when Enter counts, whatever comes late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ipywidgets import Text

from e2b_magic.panels.fields import on_enter

from .conftest import DEADLINE


def _soon(loop: asyncio.AbstractEventLoop, turns: int, act: Callable[[], object]) -> None:
    """Acts after as many turns of a loop, as a message does that lies unread and is taken apart."""
    loop.call_soon(_soon, loop, turns - 1, act) if turns else act()


async def test_enter_waits_for_the_text_when_the_kernel_is_behind() -> None:
    """What was typed before Enter is what counts, though the kernel was busy when the two came."""
    field, acted = Text(value="old"), list[str]()
    on_enter(field, lambda: acted.append(field.value))
    field._handle_custom_msg({"event": "submit"}, [])
    time.sleep(0.6)  # noqa: ASYNC251  the loop is what has to fall behind
    _soon(asyncio.get_running_loop(), 5, lambda: field.set_state({"value": "new"}))
    await asyncio.sleep(0.5)
    assert acted == ["new"]


async def test_enter_counts_once_when_nothing_new_was_typed() -> None:
    """Enter in a field whose text the kernel has acts with that text, once."""
    field, acted, once = Text(value="old"), list[str](), asyncio.Event()

    def act() -> None:
        acted.append(field.value)
        once.set()

    on_enter(field, act)
    field._handle_custom_msg({"event": "submit"}, [])
    await asyncio.wait_for(once.wait(), DEADLINE)  # a busy machine lets the loop fall behind: then it waits once more
    field.value = "later"
    assert acted == ["old"]


async def test_a_closed_field_acts_no_more() -> None:
    """A field that is closed right after Enter does nothing."""
    field, acted = Text(value="old"), list[str]()
    on_enter(field, lambda: acted.append(field.value))
    field._handle_custom_msg({"event": "submit"}, [])
    field.close()
    await asyncio.sleep(0.6)
    assert acted == []
