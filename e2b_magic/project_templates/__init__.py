"""The templates that a project may begin with: built-in ones, and those that other packages bring.

A template is a package with `template.toml` beside a folder `files`, which is what a project is given:

    summary = "What it is, in a phrase"
    install = "npm install"        what to run once the files are there
    dev = "npm run dev"            what serves it, and
    port = 5173                    where

All but `summary` may be left out. Another package brings one by an entry point of the group
`e2b_magic.project_templates`: its name is the template's, its value the package that holds the two.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

from e2b_magic.exceptions import ConfigurationError, InvalidRequestError

GROUP: Final = "e2b_magic.project_templates"
BUILT_IN: Final = ("python", "node", "vite-react", "static", "fastapi")


@dataclass(frozen=True, slots=True)
class ProjectTemplate:
    """What a project may begin with.

    Attributes:
        name: Its name.
        summary: What it is, in a phrase.
        files: The folder that holds the project's files.
        install: What to run once they are there; empty for nothing.
        dev: What serves the project; empty for nothing.
        port: Where it does, or None.
    """

    name: str
    summary: str
    files: Traversable
    install: str = ""
    dev: str = ""
    port: int | None = None


def template_names() -> list[str]:
    """Gives the names of all templates, the built-in ones first."""
    return list(dict.fromkeys([*BUILT_IN, *sorted(point.name for point in entry_points(group=GROUP))]))


def find_template(name: str) -> ProjectTemplate:
    """Gives a template.

    Raises:
        InvalidRequestError: None has that name.
        ConfigurationError: The package that brings it is not as it should be.
    """
    if name in BUILT_IN:
        return _read(name, files(__name__) / name)
    brought = {point.name: point for point in entry_points(group=GROUP)}
    if name not in brought:
        raise InvalidRequestError(f"There is no project template {name!r}: there are {', '.join(template_names())}")
    return _brought(name, brought[name])


def _brought(name: str, point: EntryPoint) -> ProjectTemplate:
    try:
        return _read(name, files(point.value))
    except Exception as error:  # noqa: BLE001  whatever a stranger's module raises when it is imported
        raise ConfigurationError(
            f"The project template {name!r}, which {point.value} brings, cannot be read ({type(error).__name__})"
        ) from None


def _read(name: str, root: Traversable) -> ProjectTemplate:
    told: dict[str, Any] = tomllib.loads((root / "template.toml").read_text(encoding="utf-8"))
    return ProjectTemplate(
        name=name,
        summary=str(told["summary"]),
        files=root / "files",
        install=str(told.get("install", "")),
        dev=str(told.get("dev", "")),
        port=int(told["port"]) if "port" in told else None,
    )
