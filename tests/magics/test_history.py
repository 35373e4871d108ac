"""Past commands shown, run again written to files; the settings and their sources; other people's commands."""

from __future__ import annotations

import csv
import functools
import getpass
import json
import subprocess
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from IPython.core.error import UsageError

from e2b_magic.client import shared_client
from e2b_magic.config import from_environment
from e2b_magic.magics import plugins
from e2b_magic.magics.command import Argument, Command
from e2b_magic.magics.past import STATUSES
from e2b_magic.records import Status
from e2b_magic.worker.caller import FakeCaller
from tests.magics.conftest import Notebook, shown_as


def test_a_command_is_rerun(notebook: Notebook, caller: FakeCaller) -> None:
    """`rerun` runs the newest, or the one that is named, and shows what it writes; a failure raises as with `run`."""
    first = notebook("%e2b run -p web --cwd /srv hello").value
    again = notebook(f"%e2b rerun {first.id[-8:]}")
    assert again.stdout.startswith("Again in project web: hello\nhello\n")
    assert (caller.asked[-1]["project_id"], caller.asked[-1]["cwd"]) == ("web", "/srv")
    notebook("%e2b run --no-raise exit 3")
    assert type(notebook("%e2b rerun").error).__name__ == "CommandFailedError"
    assert notebook("%e2b rerun --no-raise").value.exit_code == 3
    assert "'nowhere' is not in the history" in notebook("%e2b rerun nowhere").stdout


def test_variables_are_given_again(notebook: Notebook, caller: FakeCaller) -> None:
    """A command that had variables wants them again, by name or with their values."""
    notebook("TOKEN = 'secret'\nr = %e2b run --env TOKEN --env A=1 x")
    assert "the variables A, TOKEN" in notebook("%e2b rerun").stdout
    assert notebook("%e2b rerun --env TOKEN --env A=2").error is None
    assert caller.asked[-1]["envs"] == {"TOKEN": "secret", "A": "2"}


def test_the_history_has_pages_and_an_end(notebook: Notebook) -> None:
    """A full page says how to get the next one, and each line says for how long it is kept."""
    for number in range(5):
        notebook(f"%e2b run --no-cache echo {number}")
    page = notebook("%e2b history -n 3")
    assert [one.command for one in page.value] == ["echo 4", "echo 3", "echo 2"]
    line = next(line for line in shown_as(page.value).splitlines() if line.startswith("The next page: "))
    rest = notebook(line.partition(": ")[2]).value
    assert [one.command for one in rest] == ["echo 1", "echo 0"]
    assert "7 d" in shown_as(page.value)
    assert "kept for  7 d" in notebook("%e2b show").stdout


def test_the_history_is_a_frame(notebook: Notebook) -> None:
    """`to_frame` gives a column for each field, for every table of records."""
    pytest.importorskip("pandas")
    notebook("%e2b run hello")
    frame = notebook("h = %e2b history\nh.to_frame()").value
    assert list(frame["command"]) == ["hello"]
    assert frame["stdout"][0] == "hello\n"


def test_the_history_is_exported(notebook: Notebook, tmp_path: Path) -> None:
    """JSON, CSV and a script come by the file's ending, are whole and private, and replace nothing unless told to."""
    notebook("%e2b run -p web --cwd /tmp echo 'a, \"b\"'")
    notebook("%e2b run -p web --env TOKEN=c4n4ry false")
    for name in ("all.json", "all.csv", "all.sh"):
        cell = notebook(f"%e2b export --all {tmp_path / name}")
        assert cell.stdout == f"Wrote 2 executions to {tmp_path / name}\n"
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        assert "c4n4ry" not in (tmp_path / name).read_text()
    assert [one["command"] for one in json.loads((tmp_path / "all.json").read_text())] == ["false", "echo 'a, \"b\"'"]
    rows = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    assert [(row["command"], row["env_names"]) for row in rows] == [("false", "TOKEN"), ("echo 'a, \"b\"'", "")]
    ran = subprocess.run(["bash", tmp_path / "all.sh"], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.returncode) == ('a, "b"\n', 1)
    refused = notebook(f"%e2b export {tmp_path / 'all.json'}")
    assert isinstance(refused.error, UsageError)
    assert "is there already" in refused.stderr
    assert notebook(f"%e2b export --force -p web --text echo {tmp_path / 'all.json'}").stdout.startswith(
        "Wrote 1 execution "
    )
    assert sorted(path.name for path in tmp_path.glob("*all*")) == ["all.csv", "all.json", "all.sh"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("all.txt", "does not say what to write"),
        ("/nowhere/x.json", "No such file"),
        ("--format xml", "invalid choice"),
    ],
)
def test_a_slip_at_exporting_is_told(notebook: Notebook, line: str, told: str) -> None:
    """A file that cannot be written, or whose kind is not known, is one line."""
    cell = notebook(f"%e2b export {line}")
    assert isinstance(cell.error, UsageError)
    assert told in cell.stderr


def test_an_export_holds_all_of_it(notebook: Notebook, tmp_path: Path) -> None:
    """An export is the whole history, where `history` shows a page; `-n` gives the newest; the fields are in order."""
    for number in range(25):
        notebook(f"%e2b run --no-cache --quiet echo {number}")
    assert notebook(f"%e2b export {tmp_path / 'all.json'}").stdout.startswith("Wrote 25 executions ")
    assert notebook(f"%e2b export -n 2 {tmp_path / 'two.csv'}").stdout.startswith("Wrote 2 executions ")
    assert list(json.loads((tmp_path / "all.json").read_text())[0])[:3] == ["id", "project", "command"]


def test_without_a_file_the_text_is_the_value(notebook: Notebook) -> None:
    """`export` alone gives JSON; `--format` another text."""
    notebook("%e2b run hello")
    assert json.loads(notebook("%e2b export").value)[0]["stdout"] == "hello\n"
    assert notebook("%e2b export --format script").value.startswith("#!/usr/bin/env bash\nset -e")


def _settings(notebook: Notebook) -> dict[str, tuple[str, str]]:
    return {one.name: (one.value, one.source) for one in notebook("%e2b config").value}


def test_every_setting_tells_where_it_came_from(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Default, environment and session are told apart, and the key is shown by nothing."""
    settings = _settings(notebook)
    assert settings["E2BMagics.cache"] == ("True", "default")
    assert settings["api_key"] == ("none", "default")
    assert settings["backend"][0] == "embedded"
    monkeypatch.setenv("E2B_DOMAIN", "example.test")
    notebook("%config E2BMagics.cache = False")
    notebook("%e2b use web")
    shared_client().login("e2b_c4n4ry")
    settings = _settings(notebook)
    assert settings["E2BMagics.cache"] == ("False", "%config or %e2b use, in this session")
    assert settings["E2BMagics.project"] == ("web", "%config or %e2b use, in this session")
    assert settings["domain"][1] == "E2B_DOMAIN in the environment"
    assert settings["api_key"][1] == "%e2b login"
    monkeypatch.setenv("E2B_API_KEY", "e2b_c4n4ry")
    table = notebook("%e2b config").value
    assert "E2B_API_KEY in the environment" in shown_as(table)
    assert "c4n4ry" not in shown_as(table) + table._repr_html_() + repr(list(table))


class _Ring:
    """A system's keyring."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, name: str) -> str | None:
        return self.kept.get((service, name))

    def set_password(self, service: str, name: str, password: str) -> None:
        self.kept[service, name] = password

    def delete_password(self, service: str, name: str) -> None:
        del self.kept[service, name]


def test_a_key_may_rest_in_the_keyring(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--keyring` asks once and keeps the key there, takes it from there the next time, and `logout` removes it."""
    keyring = pytest.importorskip("keyring")
    ring, asked = _Ring(), []
    for name in ("get_password", "set_password", "delete_password"):
        monkeypatch.setattr(keyring, name, getattr(ring, name))

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "e2b_c4n4ry"

    monkeypatch.setattr(getpass, "getpass", ask)
    notebook("%e2b login")
    assert ring.kept == {}
    notebook("%e2b login --keyring")
    assert list(ring.kept.values()) == ["e2b_c4n4ry"]
    again = notebook("%e2b login --keyring")
    assert len(asked) == 2
    assert shared_client().configuration.backend == "e2b.app"
    assert "c4n4ry" not in again.stdout + again.stderr
    notebook("%e2b logout --keyring")
    assert ring.kept == {}
    assert shared_client().configuration.api_key is None


def test_a_system_without_a_keyring_is_told(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no keyring works, or the package is missing, one line names the other ways."""
    import sys

    keyring = pytest.importorskip("keyring")

    def fail(*arguments: object) -> None:
        raise keyring.errors.NoKeyringError("none")

    monkeypatch.setattr(keyring, "get_password", fail)
    cell = notebook("%e2b login --keyring")
    assert isinstance(cell.error, UsageError)
    assert "log in without --keyring" in cell.stderr
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert "install e2b-magic[keyring]" in notebook("%e2b login --keyring").stderr


def _deploy(context: object, arguments: Any) -> str:
    return f"deployed {arguments.where}"


DEPLOY = Command(
    name="deploy",
    summary="Deploy it",
    run=_deploy,
    arguments=(Argument(names=("where",), metavar="WHERE", required=True, summary="where to"),),
)


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Declares commands as other packages do: one that works and three that do not."""
    module = "tests.magics.test_history"
    declared = {
        name: EntryPoint(name, value, plugins.GROUP)
        for name, value in (
            ("deploy", f"{module}:DEPLOY"),
            ("missing", "no_such_module:X"),
            ("other", f"{module}:DEPLOY"),
            ("run", f"{module}:DEPLOY"),
        )
    }
    monkeypatch.setattr(plugins, "declared", functools.cache(lambda: declared))


@pytest.mark.usefixtures("foreign")
def test_another_package_brings_a_command(notebook: Notebook) -> None:
    """A declared command is found, parsed, explained, completed and listed like any of ours."""
    assert notebook("%e2b deploy there").value == "deployed there"
    assert "required: WHERE" in notebook("%e2b deploy").stderr
    assert "Deploy it." in notebook("%e2b help deploy").stdout
    assert "%e2b deploy" in notebook("%e2b help").stdout
    from e2b_magic.magics.registry import names

    assert "deploy" in names()


@pytest.mark.usefixtures("foreign")
def test_a_broken_command_is_named(notebook: Notebook, caller: FakeCaller) -> None:
    """A package that cannot be imported, or gives something else, is named in one line; ours cannot be replaced."""
    assert "%e2b missing, of no_such_module, cannot be loaded: ModuleNotFoundError" in notebook("%e2b missing").stderr
    assert "is no Command named 'other'" in notebook("%e2b other").stderr
    notebook("%e2b run hello")
    assert caller.asked[-1]["command"] == "hello"


def test_ipythons_help_lists_the_commands(notebook: Notebook) -> None:
    """`%e2b?` shows what there is."""
    shown = notebook("%e2b?")
    text = shown.stdout + str(notebook.shell.payload_manager.read_payload() if notebook.shell.payload_manager else "")
    assert "%e2b run: Run a command in the sandbox" in text
    assert "%e2b help COMMAND explains one." in text


def test_the_template_may_come_from_the_environment() -> None:
    """`E2B_MAGIC_TEMPLATE` is what new sandboxes are made from."""
    assert from_environment({"E2B_MAGIC_TEMPLATE": "node"}).template == "node"
    assert from_environment({}).template == "base"


def test_every_status_can_be_asked_for() -> None:
    """What Tab offers, and the parser takes, are the statuses that there are."""
    assert tuple(Status) == STATUSES
