"""Templates: trees that stand in for the host's system, through the SDK, and what is said where one cannot be used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from e2b import Sandbox, SandboxException

from e2b_magic.embedded import runtime
from e2b_magic.embedded.containment.tree import Placed, placements
from e2b_magic.embedded.endpoint import Endpoint
from e2b_magic.embedded.server.protocol_errors import ProtocolError
from e2b_magic.embedded.server.templates import Template, Templates

pytestmark = pytest.mark.sandbox

PROGRAMS = ("bash", "sh", "ls", "cat", "touch", "readlink", "id", "env")


def _copy_program(tree: Path, name: str) -> None:
    """Copies a program of the host's with the libraries that it is linked against."""
    program = Path(str(shutil.which(name, path="/usr/bin:/bin"))).resolve()
    shutil.copy(program, tree / "usr" / "bin" / name)
    listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for found in re.findall(r"(/\S+)", listed):
        inside = tree / found.lstrip("/")
        if not inside.exists():
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, inside)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gives a small root file system without a Python: a shell, a few programs, files to look at, and traps."""
    tree = tmp_path_factory.mktemp("tree") / "small"
    for name in ("usr/bin", "usr/lib", "usr/lib64", "etc", "opt/tool", "var/lib/thing", "home/user", "srv"):
        (tree / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (tree / name).symlink_to(f"usr/{name}")
    for name in PROGRAMS:
        _copy_program(tree, name)
    (tree / "etc" / "marker").write_text("from the tree\n")
    (tree / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/nothing\n")
    (tree / "opt" / "tool" / "run").write_text("a tool\n")
    (tree / "srv" / "data").write_text("data\n")
    (tree / "etc" / "stolen").symlink_to("/etc/shadow")
    (tree / "stolen").symlink_to(tree.parent)
    os.mkfifo(tree / "etc" / "fifo")
    (tree.parent / "outside").write_text("the host's\n")
    return tree


@pytest.fixture(scope="module")
def served(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Endpoint, Path]]:
    """Gives a server with a file of templates, and that file."""
    directory = tmp_path_factory.mktemp("templates")
    file = directory / "templates.toml"
    file.write_text(f'[templates.small]\npath = "{tree}"\n[templates.empty]\npath = "{directory / "empty"}"\n')
    (directory / "empty" / "usr").mkdir(parents=True)
    endpoint = runtime.ensure(directory / "embedded", settings={"E2B_MAGIC_TEMPLATES": str(file)})
    yield endpoint, file
    runtime.stop(directory / "embedded")


@pytest.fixture
def there(served: tuple[Endpoint, Path], options_for: Callable[[Endpoint], dict[str, Any]]) -> dict[str, Any]:
    """Gives what the SDK must know of that server."""
    return options_for(served[0])


def test_a_sandbox_runs_on_a_tree(there: dict[str, Any]) -> None:
    """Programs and files are the tree's, without a Python of its own; the home is the sandbox's."""
    with Sandbox.create("small", **there) as sandbox:
        assert sandbox.commands.run("cat /etc/marker /opt/tool/run /srv/data").stdout == "from the tree\na tool\ndata\n"
        assert sandbox.commands.run("ls /usr/bin").stdout.split() == sorted(PROGRAMS)
        assert sandbox.commands.run("echo $HOME $E2B_TEMPLATE_ID").stdout == "/home/user small\n"
        sandbox.files.write("kept", "text")
        assert sandbox.files.read("/home/user/kept") == "text"
        assert sandbox.get_info().template_id == "small"


def test_a_tree_is_not_changed(there: dict[str, Any], tree: Path) -> None:
    """What a sandbox writes below /usr stays in its layer, where it can write at all, and the rest is read-only."""
    before = sorted(path.name for path in (tree / "usr" / "bin").iterdir())
    with Sandbox.create("small", **there) as sandbox:
        sandbox.commands.run("touch /usr/bin/new || true")
        with pytest.raises(SandboxException, match="Read-only"):
            sandbox.commands.run("touch /etc/new")
        with pytest.raises(SandboxException, match="Read-only"):
            sandbox.commands.run("touch /srv/new")
    assert sorted(path.name for path in (tree / "usr" / "bin").iterdir()) == before


def test_links_in_a_tree_lead_nowhere_on_the_host(there: dict[str, Any]) -> None:
    """A link of the tree's means inside what it says, and shows nothing of the host."""
    with Sandbox.create("small", **there) as sandbox:
        assert sandbox.commands.run("readlink /etc/stolen").stdout == "/etc/shadow\n"
        for path in ("/etc/stolen", "/stolen/outside", "/etc/fifo", "/usr/bin/python3"):
            with pytest.raises(SandboxException, match="No such file"):
                sandbox.commands.run(f"cat {path}")


def test_accounts_are_the_sandboxes(there: dict[str, Any]) -> None:
    """The tree's own accounts are replaced, so that `user` and `root` are who E2B's clients mean."""
    with Sandbox.create("small", **there) as sandbox:
        assert "user:x:1000" in sandbox.commands.run("cat /etc/passwd").stdout
        assert "uid=1000(user)" in sandbox.commands.run("id").stdout


def test_what_is_not_there_is_not_found(there: dict[str, Any]) -> None:
    """A name that nobody gave is E2B's 404."""
    with pytest.raises(SandboxException, match="template 'other' not found"):
        Sandbox.create("other", **there)


def test_a_tree_that_cannot_run_is_refused(there: dict[str, Any]) -> None:
    """Without a bash, which every command runs by, the tree is refused before anything starts."""
    with pytest.raises(SandboxException, match=r"template 'empty' cannot be used: .* has no /bin/bash"):
        Sandbox.create("empty", **there)


def test_routes_tell_what_there_is(served: tuple[Endpoint, Path]) -> None:
    """Lists, one template and aliases are answered in E2B's shape, and what builds templates says why not."""
    endpoint, file = served
    with httpx.Client(base_url=endpoint.url, headers={"X-API-Key": endpoint.api_key}, trust_env=False) as client:
        assert [one["templateID"] for one in client.get("/templates").json()] == ["base", "empty", "small"]
        assert client.get("/v2/templates").json() == client.get("/templates").json()
        assert client.get("/templates/small").json()["builds"] == []
        assert client.get("/templates/aliases/small").json() == {"templateID": "small", "public": True}
        assert client.get("/templates/none").status_code == client.get("/templates/aliases/none").status_code == 404
        refused = client.post("/v3/templates", json={"name": "mine"})
        assert refused.status_code == 501
        assert str(file) in refused.json()["message"]


def test_a_change_of_the_file_needs_no_new_server(
    served: tuple[Endpoint, Path], there: dict[str, Any], tree: Path
) -> None:
    """A template is there as soon as it is written down; a file that makes no sense is named with what is wrong."""
    _, file = served
    before = file.read_text()
    try:
        file.write_text(f'{before}[templates.late]\npath = "{tree}"\n')
        Sandbox.create("late", **there).kill()
        file.write_text("[templates.x]\npath = 5\n")
        with pytest.raises(SandboxException, match=r"templates.toml cannot be understood: \[templates.x\] must hold"):
            Sandbox.create("late", **there)
        Sandbox.create(**there).kill()
    finally:
        file.write_text(before)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("templates = 5", "tables"),
        ("[other]", "tables"),
        ("[templates.UP]\npath = '/x'", "cannot be a name"),
        ("[templates.base]\npath = '/x'", "cannot be a name"),
        ("[templates.x]\npath = 'relative'", "must be absolute"),
        ("[templates.x]\npath = '/usr/..'", "must be absolute"),
        ("[templates.x]\npath = '/x'\nmore = 1", "nothing else"),
        ("= nonsense", "cannot be understood"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(text: str, what: str, tmp_path: Path) -> None:
    """Each mistake in the file is named in one line, and `base` works all the same."""
    templates = Templates(tmp_path / "templates.toml")
    templates.file.write_text(text)
    with pytest.raises(ProtocolError, match=what) as raised:
        templates.find("x")
    assert "\n" not in raised.value.message
    assert templates.find("base") == Template("base")


def test_the_file_lies_where_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable names the file; without it, it is in the user's configuration directory."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert Templates.from_environment({}).file == tmp_path / "e2b-magic" / "templates.toml"
    assert Templates.from_environment({"E2B_MAGIC_TEMPLATES": "/x/y.toml"}).file == Path("/x/y.toml")


def test_only_plain_things_are_placed(tree: Path) -> None:
    """Of a tree, directories, files and links are shown; what is the sandbox's own, and devices, are not."""
    placed = {one.inside: one for one in placements(tree)}
    assert placed["/etc/stolen"] == Placed("/etc/stolen", None, "/etc/shadow")
    assert placed["/etc/marker"].source == tree / "etc" / "marker"
    assert {"/etc/passwd", "/etc/fifo", "/home", "/usr"}.isdisjoint(placed)


def test_a_paused_sandbox_keeps_its_tree(there: dict[str, Any]) -> None:
    """A sandbox that was paused without its processes is started on its template's tree again, with its files."""
    with Sandbox.create("small", **there) as sandbox:
        sandbox.files.write("kept", "text")
        sandbox.pause(keep_memory=False)
        resumed = sandbox.connect()
        assert resumed.commands.run("cat kept /etc/marker").stdout == "textfrom the tree\n"
