"""The page of wishes names commands, options and methods that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import e2b_magic.cli
from e2b_magic import exceptions
from e2b_magic.client import Client
from e2b_magic.magics.command import Command
from e2b_magic.magics.registry import CELL, find, names
from e2b_magic.records import ExecutionResult

PAGE = Path(__file__).parents[2] / "docs" / "wishes.md"
# What stands in backticks and is neither a command of the magics nor a name from Python.
OTHER = {"--", "for i in …", "{expression}", "$name", "E2B_API_KEY", "e2b_magic.commands", "jupyter execute"}


def _rows() -> list[tuple[str, list[str]]]:
    """Gives each wish with what its answer puts in backticks."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    return [(row[0], re.findall(r"`([^`]+)`", row[1])) for row in rows if len(row) == 2 and row[0] != "Wish"]


def _command(span: str) -> tuple[Command, str] | None:
    """Gives the command that a span begins with, with or without its `%e2b`, and what follows it."""
    name, _, rest = span.partition(" ")
    if name in CELL:
        return CELL[name], rest
    bare = re.sub(r"^(?:\w+ = )?%e2b ", "", span)
    return find(bare) if bare.split()[0] in names() else None


def _is_python(span: str) -> bool:
    """Whether a span is a method of a result or of the client, an exception, or a command of the shell's."""
    if method := re.fullmatch(r"r?\.(\w+)\(\)", span):
        return hasattr(ExecutionResult, method[1])
    if method := re.fullmatch(r"await client\.(\w+)\(…\)", span):
        return hasattr(Client, method[1])
    if span.startswith("e2b-magic "):
        return f'"{span.split()[1]}"' in Path(e2b_magic.cli.__file__).read_text(encoding="utf-8")
    return hasattr(exceptions, span)


@pytest.mark.parametrize(("wish", "spans"), _rows(), ids=lambda value: value[:40] if isinstance(value, str) else "")
def test_what_answers_a_wish_is_there(wish: str, spans: list[str]) -> None:
    """Each command is one, with the options that stand behind it; an option alone is one of a command before it."""
    before: list[Command] = [*CELL.values(), find("run")[0]]
    for span in spans:
        if span in OTHER or span == "%e2b" or _is_python(span):
            continue
        if (found := _command(span)) is not None:
            before.append(found[0])
        else:
            assert span.startswith("--"), f"{span} is no command, and nothing else that is known"
        options = [word for word in span.split() if word.startswith("-")]
        for option in options:
            kinds = before[-1:] if found is not None else before
            known = {"--help"}.union(*(kind.options for kind in kinds))
            assert option in known, f"{span}: {option}"


def test_the_page_has_rows() -> None:
    """The table is read at all: more than thirty-five wishes, most of them answered by a command."""
    rows = _rows()
    assert len(rows) > 35
    assert sum(any(_command(span) for span in spans) for _, spans in rows) > 20
