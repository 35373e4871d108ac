"""What a magic gives back when it looks around: lists and mappings that show themselves as small tables.

A `Table` is a list of records, a `Card` a dict of one thing's properties; assigned to a variable they are just that
(and `pandas.DataFrame(table)` takes the records as they are). Shown, they are aligned text, and HTML with everything
escaped where a notebook wants that: names and commands come from a sandbox.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from e2b_magic.exceptions import ConfigurationError
from e2b_magic.output import OutputBuffer
from e2b_magic.quantities import size
from e2b_magic.terminal import clean, one_line

T = TypeVar("T")
WIDTH: Final = 60
"""The longest text in a table's cell, in characters."""
ROWS: Final = 200
"""How many records a table shows; all of them are in the list."""
VALUE: Final = 300
"""The longest text in a card, in characters."""
TEXT_SHOWN: Final = 100_000
"""How much of a file's beginning, and of its end, is shown when it is displayed, in characters."""


class PrettyPrinter(Protocol):
    """What IPython hands to `_repr_pretty_` (`IPython.lib.pretty.RepresentationPrinter`), as far as it is used here.

    Attributes:
        stack: The values that are being shown now, each part of the one before it.
    """

    stack: list[int]

    def text(self, obj: str) -> None:
        """Writes a text."""
        ...


Show = Callable[[Any, PrettyPrinter, bool], None]
"""A function that IPython's text formatter shows a type by."""


def as_line(describe: Callable[[Any], str]) -> Show:
    """Gives what shows a record as a line of its own; in a list, or as part of another value, by its repr."""

    def show(value: Any, printer: PrettyPrinter, cycle: bool) -> None:
        printer.text(describe(value) if len(printer.stack) == 1 else repr(value))

    return show


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column of a table.

    Attributes:
        title: Its heading.
        value: Gives a record's text.
        right: Whether it is aligned to the right, as numbers are.
    """

    title: str
    value: Callable[[T], str]
    right: bool = False


class Table(list[T]):
    """A list of records that shows itself as a table.

    Args:
        records: The records.
        columns: What to show of them.
        empty: What to show when there are none.
        note: A line to show below them.
    """

    def __init__(self, records: Iterable[T], columns: Sequence[Column[T]], *, empty: str, note: str = "") -> None:
        super().__init__(records)
        self._columns = columns
        self._empty = empty
        self._note = note

    def to_frame(self) -> Any:
        """Gives the records as a pandas DataFrame, a column for each of their fields.

        Raises:
            ConfigurationError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ConfigurationError("to_frame needs pandas: install it, or use the list as it is") from None
        return pd.DataFrame([record.to_json() if hasattr(record, "to_json") else record for record in self])

    def _cells(self) -> list[list[str]]:
        return [[_short(column.value(record), WIDTH) for column in self._columns] for record in self[:ROWS]]

    @property
    def _more(self) -> str:
        return f"… and {len(self) - ROWS:,} more" if len(self) > ROWS else self._note

    def __str__(self) -> str:
        if not self:
            return self._empty
        rows = [[column.title for column in self._columns], *self._cells()]
        table = aligned(rows, [column.right for column in self._columns])
        return f"{table}\n{self._more}" if self._more else table

    def _repr_pretty_(self, printer: PrettyPrinter, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        if not self:
            return f"<em>{html.escape(self._empty)}</em>"
        right = [column.right for column in self._columns]
        head = _row([column.title for column in self._columns], right, tag="th")
        rows = "".join(_row(cells, right) for cells in self._cells())
        return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>{html.escape(self._more)}"


class Card(dict[str, str]):
    """One thing's properties by name; shows itself as two columns."""

    def __str__(self) -> str:
        return aligned([[name, _short(value, VALUE)] for name, value in self.items()], [False, False])

    def _repr_pretty_(self, printer: PrettyPrinter, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr>{_cell(name, tag='th')}{_cell(_short(value, VALUE))}</tr>" for name, value in self.items())
        return f"<table><tbody>{rows}</tbody></table>"


class Text(str):
    """A file's text; shows itself as it is read, not as a Python literal."""

    __slots__ = ()

    def _repr_pretty_(self, printer: PrettyPrinter, cycle: bool) -> None:
        buffer = OutputBuffer(TEXT_SHOWN)
        buffer.append(self)
        printer.text(clean(buffer.text()).removesuffix("\n"))


class Content(bytes):
    """A file's bytes; shows their number and how they begin."""

    __slots__ = ()

    def _repr_pretty_(self, printer: PrettyPrinter, cycle: bool) -> None:
        more = "…" if len(self) > WIDTH else ""
        printer.text(f"<{size(len(self))}: {bytes(self[:WIDTH])!r}{more}>")


def _row(cells: Sequence[str], right: Sequence[bool], *, tag: str = "td") -> str:
    inner = "".join(_cell(cell, right=one, tag=tag) for cell, one in zip(cells, right, strict=True))
    return f"<tr>{inner}</tr>"


def _cell(text: str, *, right: bool = False, tag: str = "td") -> str:
    # Said of every cell: Jupyter's own style sheet has all of them on the right, where no command can be read.
    # What is on the right is a number with its unit, which a page that is narrow would put into two lines.
    style = "text-align:right;white-space:nowrap" if right else "text-align:left"
    return f'<{tag} style="{style}">{html.escape(text)}</{tag}>'


def aligned(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """Gives rows of cells as lines with their columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    )
    return "\n".join(lines)


def _short(text: str, width: int) -> str:
    # Cut before it is escaped as well: a command may be a script of megabytes.
    line = one_line(text[: 2 * width])
    return line if len(line) <= width and len(text) <= 2 * width else f"{line[: width - 1]}…"


def pairs(mapping: Mapping[str, object]) -> Card:
    """Gives a card of what has a value."""
    return Card({name: str(value) for name, value in mapping.items() if value not in (None, "", ())})
