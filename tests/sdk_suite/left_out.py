"""A pytest plugin that leaves out of E2B's suite what left_out.toml names, each test with its reason.

It runs beside E2B's tests, in the environment of the SDK under test, so it uses nothing that is not there. A test
that is left out shows as skipped, with the reason. An entry that names no test any more is an error: the list is
to say what is left out, not what once was.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

LIST = Path(__file__).with_suffix(".toml")
# What a skipped test's reason begins with, to tell those left out here from those that E2B skips itself.
PREFIX = "left out: "


@dataclass(frozen=True, slots=True)
class Entry:
    """A test, or a file.

    Attributes:
        file: The file's path below `tests/`.
        name: The test's name without its parameters, with its class's before it; empty for the whole file, which
            then is not even imported.
        reason: Why it is left out.
    """

    file: str
    name: str
    reason: str


def read_list(text: str, version: str) -> list[Entry]:
    """Gives what is left out with a version of the SDK.

    Args:
        text: The list, in TOML: `[[group]]` with `reason`, `tests` and, where it is not for every version, `sdk`.
        version: The SDK's version.
    """
    return [
        Entry(*_split(test), reason=group["reason"])
        for group in tomllib.loads(text)["group"]
        if version in SpecifierSet(group.get("sdk", ""))
        for test in group["tests"]
    ]


def _split(test: str) -> tuple[str, str]:
    file, _, name = test.partition("::")
    return file, name


def stale(entries: Iterable[Entry], collected: Iterable[tuple[str, str]], tests: Path) -> list[str]:
    """Gives the entries that name nothing, as they are written.

    An entry is judged where its file was collected, or is gone: somebody may run a part of the suite only.

    Args:
        entries: What is left out.
        collected: File and name of each test that was found.
        tests: The folder of the suite.
    """
    found = set(collected)
    files = {file for file, _ in found}
    return [
        f"{entry.file}::{entry.name}" if entry.name else entry.file
        for entry in entries
        if not (tests / entry.file).is_file()
        or (entry.name and entry.file in files and (entry.file, entry.name) not in found)
    ]


def _entries() -> list[Entry]:
    return read_list(LIST.read_text(), metadata.version("e2b"))


def _place(item: pytest.Item, tests: Path) -> tuple[str, str]:
    file = item.path.relative_to(tests).as_posix()
    return file, item.nodeid.partition("::")[2].partition("[")[0]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Keeps pytest from importing the files that are left out."""
    files = {config.rootpath / "tests" / entry.file for entry in _entries() if not entry.name}
    return collection_path in files or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the tests that are left out.

    Raises:
        pytest.UsageError: The list names a test that there is not.
    """
    tests = config.rootpath / "tests"
    entries = _entries()
    places = [_place(item, tests) for item in items]
    if missing := stale(entries, places, tests):
        raise pytest.UsageError(f"{LIST.name} names what the suite does not have: {', '.join(missing)}")
    reasons = {(entry.file, entry.name): entry.reason for entry in entries}
    for item, place in zip(items, places, strict=True):
        if place in reasons:
            item.add_marker(pytest.mark.skip(reason=f"{PREFIX}{reasons[place]}"))
