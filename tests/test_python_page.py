"""The pages' Python runs, and docs/python.md lists all there is; `python tests/test_python_page.py` rewrites that."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import e2b_magic
from e2b_magic import exceptions
from e2b_magic.client import Client
from e2b_magic.client.all_sandboxes import AllSandboxesVerbs
from e2b_magic.client.awaited_transfers import AwaitedTransferVerbs
from e2b_magic.client.commands import CommandVerbs
from e2b_magic.client.completion import CompletionVerbs
from e2b_magic.client.files import FileVerbs
from e2b_magic.client.history import HistoryVerbs
from e2b_magic.client.jobs import JobVerbs
from e2b_magic.client.projects import ProjectVerbs
from e2b_magic.client.sandbox_jobs import SandboxJobs
from e2b_magic.client.sandboxes import SandboxVerbs
from e2b_magic.client.servers import ServerVerbs
from e2b_magic.client.snapshots import SnapshotVerbs
from e2b_magic.client.terminals import TerminalVerbs
from e2b_magic.client.transfers import TransferVerbs
from e2b_magic.client.verbs import Verbs
from e2b_magic.embedded import runtime

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "python.md"
BEGIN, END = "<!-- reference: begin -->\n", "<!-- reference: end -->"

GROUPS: dict[str, tuple[type, ...]] = {
    "Commands": (CommandVerbs,),
    "Files": (FileVerbs, TransferVerbs, AwaitedTransferVerbs),
    "Projects and servers": (ProjectVerbs, ServerVerbs),
    "Commands in the background": (JobVerbs,),
    "Sandboxes": (SandboxVerbs, SnapshotVerbs, AllSandboxesVerbs),
    "What was run, and what is kept": (HistoryVerbs,),
    "The session": (Client,),
}
# What panels and magics are built from, and nobody needs beside them.
LEFT_OUT = {Verbs, SandboxJobs, TerminalVerbs, CompletionVerbs}
INNER = {"ask", "begin_command"}


def _sentence(thing: Any) -> str:
    """Gives a docstring's first paragraph, fit for a cell of a table."""
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split()).replace("|", r"\|")


def _arguments(verb: Any) -> str:
    told = []
    for name, one in list(inspect.signature(verb).parameters.items())[1:]:
        if one.kind is one.VAR_KEYWORD:
            options = re.sub(r"Unpack\[(\w+)\]", r"\1", str(one.annotation))
            known = vars(sys.modules[verb.__module__])[options].__annotations__
            told += [f"{option}=" for option in known]
        else:
            told.append(name if one.default is one.empty else f"{name}=")
    return ", ".join(told)


def _verbs(kinds: tuple[type, ...]) -> Iterator[str]:
    for kind in kinds:
        for name, verb in vars(kind).items():
            if name.startswith("_") or name in INNER or not inspect.isfunction(verb):
                continue
            if name.startswith("a") and hasattr(Client, name[1:]):
                continue  # told beside its twin
            twin = f" `a{name}` is awaited." if hasattr(Client, f"a{name}") else ""
            yield f"| `{name}({_arguments(verb)})` | {_sentence(verb)}{twin} |"


def _reference() -> str:
    parts = []
    for group, kinds in GROUPS.items():
        parts.append("\n".join([f"### {group}\n", "| `Client.` | |", "|---|---|", *_verbs(kinds)]))
    names = [name for name in e2b_magic.__all__ if inspect.isclass(getattr(e2b_magic, name))]
    rows = [f"| `{name}` | {_sentence(getattr(e2b_magic, name))} |" for name in names]
    parts.append("\n".join(["### Classes\n", "| `e2b_magic.` | |", "|---|---|", *rows]))
    errors = [one for one in vars(exceptions).values() if inspect.isclass(one) and issubclass(one, Exception)]
    rows = [f"| `{one.__name__}` ({one.__bases__[0].__name__}) | {_sentence(one)} |" for one in errors]
    parts.append("\n".join(["### Exceptions\n", "| `e2b_magic.exceptions.` | |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _rewritten(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{_reference()}{END}{after}"


def test_the_reference_is_current() -> None:
    """Every verb, class and exception is on the page, with the arguments and the sentence that it has."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == _rewritten(page), "run `python tests/test_python_page.py`"


def test_no_group_of_verbs_is_forgotten() -> None:
    """Whatever a client inherits from is on the page, or named as what is left out."""
    told = {kind for kinds in GROUPS.values() for kind in kinds}
    ours = {kind for kind in Client.__mro__ if kind.__module__.startswith("e2b_magic.")}
    assert ours == told | LEFT_OUT


@pytest.mark.parametrize("name", [name for name in e2b_magic.__all__ if not name.endswith("_extension")])
def test_a_public_name_is_found_and_told(name: str) -> None:
    """Each name that the package offers is there, and says in a sentence what it is."""
    assert _sentence(getattr(e2b_magic, name)).endswith((".", ":"))


@pytest.mark.sandbox
@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's Python, from its first line to its last, does what it says, over a real sandbox."""
    monkeypatch.setenv("E2B_MAGIC_DIRECTORY", str(tmp_path / "e2b-magic"))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    names: dict[str, Any] = {}
    try:
        for block in blocks:
            exec(compile(block, page, "exec"), names)
    finally:
        if isinstance(client := names.get("client"), Client):
            client.close()
        runtime.stop(tmp_path / "e2b-magic" / "embedded")


if __name__ == "__main__":
    PAGE.write_text(_rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
