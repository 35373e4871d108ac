"""The generated services are loaded without the SDK's client, or with it where they need it."""

from __future__ import annotations

import subprocess
import sys

_LOAD = "import sys; from e2b_magic.embedded.server.services import load_services; load_services(); "


def _run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def test_the_server_loads_no_client() -> None:
    """The whole server is imported without the SDK's client or the HTTP client below that."""
    assert _run(
        _LOAD + "import e2b_magic.embedded.server.daemon; print('e2b.api' in sys.modules, 'httpx' in sys.modules)"
    ) == ("False False\n")


def test_a_release_that_needs_its_client_is_imported_whole() -> None:
    """When the services cannot be loaded alone, what was begun is undone and the plain import works."""
    spoil = "import importlib; real = importlib.import_module\ndef fail(name): raise ImportError(name)\n"
    program = (
        f"{spoil}importlib.import_module = fail\n{_LOAD}\nimportlib.import_module = real\n"
        "from e2b.envd.process import process_connect; import e2b; print(e2b.Sandbox.__name__)"
    )
    assert _run(program) == "Sandbox\n"


def test_a_client_that_is_there_already_stays() -> None:
    """Where the SDK was imported before, it is left as it is."""
    assert _run("import e2b; " + _LOAD + "print(sys.modules['e2b'] is e2b, e2b.Sandbox.__name__)") == "True Sandbox\n"
