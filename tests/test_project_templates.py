"""Project templates: the built-in ones, and those that other packages bring."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from e2b_magic import project_templates
from e2b_magic.exceptions import ConfigurationError, InvalidRequestError
from e2b_magic.project_templates import BUILT_IN, GROUP, find_template, template_names


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Gives the folder of a package that brings a template `theirs`, as an installed one would."""
    package = tmp_path / "a_package_with_a_template"
    (package / "files").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "template.toml").write_text('summary = "Theirs"\ndev = "make run"\nport = 9000\n')
    (package / "files" / "Makefile").write_text("run:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    points = EntryPoints([EntryPoint("theirs", package.name, GROUP), EntryPoint("static", package.name, GROUP)])
    monkeypatch.setattr(project_templates, "entry_points", lambda group: points.select(group=group))
    monkeypatch.delitem(sys.modules, package.name, raising=False)
    return package


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_template_is_whole(name: str) -> None:
    """Each has a summary, files, and a server whose port is known."""
    template = find_template(name)
    assert template.summary
    assert [entry.name for entry in template.files.iterdir()]
    assert template.dev
    assert template.port


def test_another_package_brings_one(brought: Path) -> None:
    """A template by entry point is listed after the built-in ones, none of which it replaces, and found."""
    assert template_names() == [*BUILT_IN, "theirs"]
    template = find_template("theirs")
    assert (template.summary, template.dev, template.port, template.install) == ("Theirs", "make run", 9000, "")
    assert [entry.name for entry in template.files.iterdir()] == ["Makefile"]
    assert find_template("static").summary != "Theirs"


@pytest.mark.parametrize("told", ["", "port = 1", "summary = ", 'summary = "x"\nport = "high"'])
def test_one_that_cannot_be_read_is_named(brought: Path, told: str) -> None:
    """A template that is not as it should be is told in one line that names it and its package."""
    (brought / "template.toml").write_text(told)
    with pytest.raises(ConfigurationError, match="'theirs', which a_package_with_a_template brings, cannot be read"):
        find_template("theirs")


def test_an_unknown_one_is_named() -> None:
    """A slip is answered with the names that there are."""
    with pytest.raises(InvalidRequestError, match="no project template 'vite': there are python, node, vite-react"):
        find_template("vite")
