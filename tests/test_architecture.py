"""The direction of the imports, and their weight."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import e2b_magic

PACKAGE = Path(e2b_magic.__file__).parent
PAGES = Path(__file__).parents[1]

# Each part of the package, and the parts that it may import. What is missing from a set is forbidden.
LEAVES = {"exceptions", "colours", "results", "records", "config", "output", "quantities", "terminal", "interrupts"}
ALLOWED: dict[str, set[str]] = {
    "exceptions": {"records"},
    "records": {"results"},
    "results": {"colours", "exceptions", "output", "records", "terminal"},  # records for its types
    "colours": {"terminal"},
    "config": {"exceptions"},
    "output": set(),
    "interrupts": set(),
    "quantities": set(),
    "terminal": set(),
    "store": {"exceptions", "interrupts", "records"},
    "embedded": {"exceptions"},
    "sandboxes": LEAVES | {"worker.protocol", "worker.requests", "embedded.runtime", "embedded.endpoint"},
    "worker": LEAVES | {"sandboxes"},
    "project_templates": {"exceptions"},
    "client": LEAVES | {"project_templates", "store", "worker.protocol", "worker.requests", "worker.caller"},
    "panels": LEAVES | {"client", "project_templates", "store", "worker.protocol", "worker.requests"},
    "magics": LEAVES | {"client", "panels", "project_templates", "store", "worker.protocol", "worker.requests"},
    "server_extension": LEAVES | {"sandboxes", "worker"},
    "cli": LEAVES | {"embedded"},
}
# Inside the embedded server, the same: what each room may import of the others.
INSIDE: dict[str, set[str]] = {
    "agent": set(),
    "containment": {"agent"},
    "sandbox": {"containment", "agent"},
    "egress": {"sandbox"},
    "server": {"egress", "sandbox", "containment", "endpoint", "settings"},
    "directory": set(),
    "endpoint": {"directory"},
    "settings": {"containment"},
    "runtime": {"directory", "endpoint", "settings"},
    "foreground": {"endpoint", "runtime"},
    "__init__": set(),
    "__main__": {"server", "settings"},
}
# Packages from outside that one part alone may import.
KEPT_IN = {
    "e2b": {"sandboxes", "embedded"},
    "cryptography": {"embedded"},
    "IPython": {"magics", "__init__"},
    "ipywidgets": {"panels"},
    "jupyter_server": {"server_extension"},
    "tornado": {"server_extension"},
    "httpx": {"sandboxes", "server_extension", "worker"},
    "starlette": {"embedded"},
    "uvicorn": {"embedded"},
}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files() -> list[tuple[str, Path]]:
    paths = sorted(PACKAGE.rglob("*.py"))
    return [(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path) for path in paths]


@pytest.mark.parametrize(("part", "path"), _files(), ids=lambda value: str(value).rpartition("e2b_magic/")[2])
def test_imports_point_down(part: str, path: Path) -> None:
    """No module imports a part of the package that stands above its own."""
    if part == "__init__":
        return
    allowed = ALLOWED[part] | {part}
    for name in _imports(path):
        if name.startswith("e2b_magic."):
            inner = name.removeprefix("e2b_magic.")
            assert any(inner == one or inner.startswith(f"{one}.") for one in allowed), f"{path.name} imports {name}"


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.glob("embedded/**/*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_point_inwards_in_the_embedded_server(path: Path) -> None:
    """Server, egress, sandbox, containment, agent: each knows only those further in."""
    room = path.relative_to(PACKAGE / "embedded").parts[0].removesuffix(".py")
    for name in _imports(path):
        if name.startswith("e2b_magic.embedded."):
            other = name.split(".")[2]
            assert other == room or other in INSIDE[room], f"{path.name} imports {name}"


@pytest.mark.parametrize(("part", "path"), _files(), ids=lambda value: str(value).rpartition("e2b_magic/")[2])
def test_foreign_packages_stay_in_their_room(part: str, path: Path) -> None:
    """Only the part of the package that is about a foreign package imports it."""
    for name in _imports(path):
        owners = KEPT_IN.get(name.split(".")[0])
        assert owners is None or part in owners, f"{path.name} imports {name}"


_IGNORE = re.compile(r"# type: ignore(?:\[[a-z, -]+\])?|# noqa(?:: [A-Z]+[0-9]+(?:, [A-Z]+[0-9]+)*)?")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_an_ignored_rule_has_its_reason(path: Path) -> None:
    """Beside each `noqa` and `type: ignore` it is said why."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := _IGNORE.search(line):
            assert re.search("[a-z]{2}", _IGNORE.sub("", line[found.start() :])), f"no reason: {line.strip()}"


def test_the_way_to_each_subject_is_told_right() -> None:
    """Every path in CONTRIBUTING's table is there."""
    table = [line for line in (PAGES / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    told = [path for line in table for path in re.findall(r"`([a-z_/]+(?:/|\.py|\.css))`", line)]
    assert len(told) > 20
    assert [path for path in told if not (PACKAGE / path).exists()] == []


def test_the_package_alone_imports_nothing_heavy() -> None:
    """Importing the package, its client and its magics brings in neither the SDK nor widgets nor a server."""
    code = (
        "import sys, e2b_magic, e2b_magic.client, e2b_magic.magics\n"
        "heavy = {'e2b', 'httpx', 'ipywidgets', 'jupyter_server', 'starlette', 'uvicorn', 'psutil'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "[]"
