"""What a command's function is given beside its arguments: the client, the settings, the user's variables.

The client, and what only a call needs, is imported when it is first asked for, so that loading the magics stays light.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from e2b_magic.interrupts import deferred

if TYPE_CHECKING:
    from e2b_magic.client import Client
    from e2b_magic.magics.expansion import Expander
    from e2b_magic.magics.progress import ProgressBar
    from e2b_magic.magics.streaming import Printer


@cache
def _prepare() -> None:
    """Imports, once, what nearly every command needs: where a Ctrl-C cannot break it off."""
    with deferred():
        import e2b_magic.client
        import e2b_magic.magics.streaming  # noqa: F401  they are named where they are used


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of one call of a magic.

    Attributes:
        use_cache: Whether commands may be answered from the store.
        timeout: Seconds after which a command is killed, unless it names its own; None lets it run.
        raise_on_error: Whether a command that fails raises.
        namespace: The user's variables.
        settings: Gives each option of the magics, its value and where that came from.
        assign: Gives one of the user's variables a value.
        next_cell: Puts a text into the cell that comes next.
        word: The word that Tab is to complete.
        given: The options that stand before that word, by their long names.
        remember_project: Told of a newly chosen current project, for the option that shows it.
    """

    use_cache: bool = True
    timeout: float | None = None
    raise_on_error: bool = True
    namespace: Mapping[str, Any] = field(default_factory=dict, repr=False)
    settings: Callable[[], list[tuple[str, Any, str]]] = list
    assign: Callable[[str, object], None] = lambda name, value: None
    next_cell: Callable[[str], None] = lambda text: None
    word: str = ""
    given: Mapping[str, str] = field(default_factory=dict, repr=False)
    remember_project: Callable[[str], None] = lambda name: None

    @property
    def client(self) -> Client:
        """The kernel's client, made when it is first asked for.

        Raises:
            ConfigurationError: The environment's variables contradict each other.
        """
        _prepare()
        from e2b_magic.client import shared_client

        return shared_client()

    def printer(self, *, quiet: bool = False) -> Printer:
        """Shows a call's events in the cell."""
        _prepare()
        from e2b_magic.magics.streaming import Printer

        return Printer(quiet=quiet)

    def progress_bar(self, title: str) -> ProgressBar:
        """Shows how far a transfer has come."""
        from e2b_magic.magics.progress import ProgressBar

        return ProgressBar(title)

    @property
    def expander(self) -> Expander:
        """Puts the user's variables into text."""
        from e2b_magic.magics.expansion import Expander

        return Expander(self.namespace)
