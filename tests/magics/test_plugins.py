"""What other packages bring, each really installed from a wheel of its own: a command, a template, and a broken one."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2b_magic.embedded import runtime

pytestmark = pytest.mark.sandbox

GOOD = {
    "shouting/__init__.py": "",
    "shouting/magics.py": """
from e2b_magic.magics.command import Argument, Command


def shout(context, arguments):
    return context.client.execute_command(f"echo {arguments.what}!").stdout.upper()


SHOUT = Command(
    name="shout",
    summary="Say it loudly",
    run=shout,
    arguments=(Argument(names=("what",), metavar="WHAT", required=True, summary="what to say"),),
    examples=("%e2b shout hello",),
)
""",
    "shouting/page/__init__.py": "",
    "shouting/page/template.toml": 'summary = "A page"\ninstall = "test -e index.html && echo installed"\n',
    "shouting/page/files/index.html": "<h1>Shouting</h1>\n",
    "shouting-1.0.dist-info/entry_points.txt": (
        "[e2b_magic.commands]\nshout = shouting.magics:SHOUT\n"
        "[e2b_magic.project_templates]\nshouting-page = shouting.page\n"
    ),
}
BROKEN = {
    "breaking/__init__.py": "raise RuntimeError('half installed')\n",
    "breaking-2.0.dist-info/entry_points.txt": (
        "[e2b_magic.commands]\nbreak-it = breaking:IT\nrun = breaking:IT\n"
        "[e2b_magic.project_templates]\nbroken-page = breaking.page\n"
    ),
}


def _wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """Builds a wheel, which is a zip archive with a record of what it holds (PEP 427)."""
    about = f"{name}-{version}.dist-info"
    whole = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    sums = {path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()) for path, text in whole.items()}
    rows = [f"{path},sha256={sums[path].decode().rstrip('=')},{len(text.encode())}" for path, text in whole.items()]
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in whole.items():
            archive.writestr(path, text)
        archive.writestr(f"{about}/RECORD", "\n".join([*rows, f"{about}/RECORD,,"]))
    return wheel


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gives a folder into which pip has installed both packages."""
    folder = tmp_path_factory.mktemp("packages")
    wheels = [_wheel(folder, "shouting", "1.0", GOOD), _wheel(folder, "breaking", "2.0", BROKEN)]
    options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", folder / "site", *wheels], check=True)
    return folder / "site"


@pytest.fixture
def environment(packages: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Gives the environment of an IPython that finds them, with a server of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("E2B_")}
    ours = {"E2B_MAGIC_DIRECTORY": str(tmp_path / "e2b"), "IPYTHONDIR": str(tmp_path / "ipython")}
    yield {**kept, **ours, "PYTHONPATH": str(packages)}
    runtime.stop(tmp_path / "e2b" / "embedded")


def _told(environment: dict[str, str], *lines: str) -> str:
    """Gives what IPython writes in all when it runs lines, each in a cell of its own."""
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "from traitlets.config import Config\n"
        "shell = InteractiveShell(config=Config({'HistoryManager': {'enabled': False}}), colors='nocolor')\n"
        f"for line in {['%load_ext e2b_magic', *lines]!r}:\n"
        "    shell.run_cell(line)\n"
        "print(shell.complete('', '%e2b sho', 8)[1], shell.complete('', '%e2b setup --template sh', 24)[1])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return ran.stdout.decode()


def test_an_installed_package_brings_a_command_and_a_template(environment: dict[str, str]) -> None:
    """Its command runs, is explained, listed and completed; its template makes a project, files, install and all."""
    told = _told(
        environment,
        "%e2b shout hello",
        "%e2b help shout",
        "%e2b help",
        "%e2b shout",
        "%e2b setup page --template shouting-page",
        "%e2b cat page/index.html",
    )
    assert "'HELLO!\\n'" in told
    assert "%e2b shout WHAT\nSay it loudly." in told
    assert "%e2b shout             Of shouting.magics" in told
    assert "UsageError: %e2b shout: the following arguments are required: WHAT; see %e2b shout --help" in told
    assert "\ninstalled\nProject page is ready in /home/user/page\n" in told
    assert "<h1>Shouting</h1>" in told
    assert told.splitlines()[-1] == "['shout', 'show'] ['shouting-page']"


def test_a_broken_package_breaks_nothing(environment: dict[str, str]) -> None:
    """What cannot be imported is one line that names it, when it is used; a name of ours stays ours."""
    told = _told(
        environment,
        "%e2b break-it",
        "%e2b help break-it",
        "%e2b setup page --template broken-page",
        "%e2b run echo still here",
        "%e2b help",
    )
    line = "UsageError: %e2b break-it, of breaking, cannot be loaded: RuntimeError: half installed\n"
    assert told.count(line) == 2
    assert "ConfigurationError: The project template 'broken-page', which breaking.page brings, cannot be read" in told
    assert "Traceback" not in told
    assert "still here\n" in told
    listed = told.partition("still here\n")[2]
    assert "%e2b break-it" in listed
    assert "%e2b run               Of breaking" not in listed


def test_a_package_is_found_though_it_was_installed_later(environment: dict[str, str], packages: Path) -> None:
    """As after `%pip install`: the command that nobody knew a moment ago is there, without a restart."""
    late = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    told = _told(late, "%e2b shout no", f"import sys; sys.path.append({str(packages)!r})", "%e2b shout yes")
    assert "Unknown subcommand 'shout'" in told
    assert "'YES!\\n'" in told
