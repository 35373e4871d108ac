"""What loading brings, takes away again, and costs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from e2b_magic import load_ipython_extension, unload_ipython_extension
from e2b_magic.client import Client, set_shared_client, shared_client
from e2b_magic.config import Configuration
from e2b_magic.magics.extension import E2BMagics
from tests.magics.conftest import Notebook

HEAVY = "{'e2b', 'httpx', 'connectrpc', 'ipywidgets', 'jupyter_server', 'starlette', 'uvicorn', 'psutil'}"


def _python(code: str, directory: Path) -> str:
    environment = {
        **os.environ,
        "IPYTHONDIR": str(directory / "ipython"),
        "E2B_MAGIC_DIRECTORY": str(directory / "e2b"),
    }
    # -P, else the package would come from the working directory and not from where it is installed.
    program = [sys.executable, "-P", "-c", textwrap.dedent(code)]
    told = subprocess.run(program, check=True, capture_output=True, text=True, env=environment)
    return told.stdout


def test_loading_twice_is_loading_once(shell: InteractiveShell) -> None:
    """A second load replaces the first; unloading leaves the shell as it was."""
    matchers, configurables = list(shell.Completer.custom_matchers), list(shell.configurables)
    load_ipython_extension(shell)
    load_ipython_extension(shell)
    assert sum(isinstance(one, E2BMagics) for one in shell.configurables) == 1
    assert len(shell.Completer.custom_matchers) == len(matchers) + 1
    unload_ipython_extension(shell)
    assert list(shell.Completer.custom_matchers) == matchers
    assert list(shell.configurables) == configurables
    assert not {"e2b", "e2b_file"} & {*shell.magics_manager.magics["line"], *shell.magics_manager.magics["cell"]}
    unload_ipython_extension(shell)


def test_a_reload_works(shell: InteractiveShell) -> None:
    """`%load_ext`, `%reload_ext` and `%unload_ext` are IPython's own way to the same."""
    notebook = Notebook(shell)
    for line in ("%load_ext e2b_magic", "%reload_ext e2b_magic", "%e2b help"):
        assert notebook(line).error is None
    notebook("%unload_ext e2b_magic")
    assert "e2b" not in shell.magics_manager.magics["line"]


def test_settings_are_read_from_a_configuration_file(shell: InteractiveShell, configuration: Configuration) -> None:
    """`c.E2BMagics…` in IPython's configuration holds from the first command on."""
    set_shared_client(Client(configuration))
    shell.config.E2BMagics = Config({"project": "web", "cache": False})
    load_ipython_extension(shell)
    assert shared_client().project == "web"
    assert Notebook(shell)("%config E2BMagics.cache").value is False
    unload_ipython_extension(shell)


def test_loading_and_a_cached_result_import_nothing_heavy(tmp_path: Path) -> None:
    """Neither `%load_ext`, nor help and completion, nor a cached result bring in the SDK, widgets or a server."""
    code = f"""
        import sys, time
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell()
        shell.run_line_magic("load_ext", "e2b_magic")
        shell.run_line_magic("e2b", "help run")
        shell.complete("", "%e2b run --pro", 14)
        assert "e2b_magic.client" not in sys.modules
        from e2b_magic.client import Client, set_shared_client
        from e2b_magic.worker.caller import FakeCaller
        from e2b_magic.worker.protocol import Attached, Output
        async def answer(payload, emit):
            await emit(Attached("s1", "embedded", time.time() + 3600, True))
            await emit(Output("stdout", "hello\\n"))
            return {{"exit_code": 0}}
        set_shared_client(Client(caller=FakeCaller({{"execute_command": answer}})))
        shell.run_line_magic("e2b", "run hello")
        before = set(sys.modules)
        assert shell.run_line_magic("e2b", "run hello").cached
        loaded = {{name.partition(".")[0] for name in sys.modules}} & {HEAVY} - {{"psutil"}}
        print("heavy:", sorted(loaded), sorted(set(sys.modules) - before))
    """
    assert _python(code, tmp_path).splitlines()[-1] == "heavy: [] []"


@pytest.mark.slow
def test_loading_is_quick(tmp_path: Path) -> None:
    """`%load_ext e2b_magic` takes at most 0.4 of what a bare IPython takes to start; the median of five processes."""
    code = """
        import time
        started = time.perf_counter()
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell()
        began = time.perf_counter()
        shell.run_line_magic("load_ext", "e2b_magic")
        print((time.perf_counter() - began) / (began - started))
    """
    assert statistics.median(float(_python(code, tmp_path).split()[-1]) for _ in range(5)) <= 0.4
