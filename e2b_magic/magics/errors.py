"""One line for an error: IPython asks an exception how it wants to be shown, and ours is told what to answer.

IPython calls `_render_traceback_` where an exception has it. It is set on the one exception that passes through a
magic, not on the classes: an error that reaches a user's own Python code keeps its traceback, which is wanted there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from traceback import clear_frames
from typing import TYPE_CHECKING

from e2b_magic.exceptions import E2BMagicError
from e2b_magic.terminal import one_line as flattened

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def _rendered(line: str) -> list[str]:
    return [line]


def dress(error: BaseException, *, colour: bool) -> None:
    """Has IPython show an exception as one line, whatever `%xmode` says."""
    name = type(error).__name__
    if colour:
        name = f"\x1b[31m{name}\x1b[39m"
    line = f"{name}: {flattened(str(error)) or 'interrupted'}"
    # A partial of a module's function, not a lambda, since exceptions are pickled on their way between processes.
    vars(error)["_render_traceback_"] = partial(_rendered, line)


def _end_what_is_open(error: BaseException | None) -> None:
    """Ends the contexts that an interrupt found entered, and Python not yet aware of it: a transfer, for one.

    They end when nothing refers to them any more, but frames do, which their traceback keeps, which IPython keeps.
    """
    while isinstance(error, KeyboardInterrupt):
        clear_frames(error.__traceback__)
        error = error.__context__


@contextmanager
def errors_in_one_line(shell: InteractiveShell) -> Iterator[None]:
    """Lets errors of ours, and an interrupt, pass dressed."""
    try:
        yield
    except (E2BMagicError, KeyboardInterrupt) as error:
        _end_what_is_open(error)
        dress(error, colour=str(shell.colors).lower() != "nocolor")
        raise
