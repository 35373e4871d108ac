"""The one door to every check: `nox` runs them all, `nox -s tests-3.13` one of them.

The tests run against the built wheel, not against the source tree, on the oldest and the newest supported Python
that really run on this machine.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True
# Not the benchmarks: without --strict, which a busy machine cannot pass, they check nothing. Not E2B's own suite: it
# needs a clone of E2B's repository.
nox.options.sessions = ["lint", "typing", "tests", "jupyter"]

SUPPORTED = ("3.11", "3.12", "3.13", "3.14")


def _runs(program: str, version: str) -> bool:
    """Says whether a program really is that Python: a version manager's shim may stand there and only complain."""
    try:
        told = subprocess.run([program, "--version"], check=False, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.returncode == 0 and told.stdout.startswith(f"Python {version}.")


def _find(version: str) -> bool:
    """Makes sure that `pythonX.Y` on the PATH runs, looking into pyenv's folder too; says whether there is one."""
    name = f"python{version}"
    if (found := shutil.which(name)) and _runs(found, version):
        return True
    root = os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv"
    # glob and not pathlib's: that stops at a folder of another user's, which PYENV_ROOT may name.
    for candidate in sorted(glob.glob(f"{root}/versions/{version}.*/bin/{name}"), reverse=True):  # noqa: PTH207
        if _runs(candidate, version):
            os.environ["PATH"] = f"{Path(candidate).parent}{os.pathsep}{os.environ['PATH']}"
            return True
    return False


PRESENT = [version for version in SUPPORTED if _find(version)]
OLDEST_AND_NEWEST = sorted({PRESENT[0], PRESENT[-1]}, key=SUPPORTED.index) if PRESENT else []


WHEELS: list[Path] = []
"""The wheel, once a session of this run has built it."""


def _build_wheel(session: nox.Session) -> Path:
    """Builds the wheel, for all sessions of this run."""
    if not WHEELS:
        folder = Path(session.cache_dir).resolve() / "wheel"
        shutil.rmtree(folder, ignore_errors=True)
        session.run("python", "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(folder), ".", silent=True)
        WHEELS.extend(folder.glob("*.whl"))
    (wheel,) = WHEELS
    return wheel


def _install_wheel(session: nox.Session, extra: str) -> None:
    """Installs the wheel with what an extra asks for."""
    wheel = _build_wheel(session)
    # Twice, since pip takes a wheel of the same version for installed already, whatever is in it.
    session.install(f"{wheel}[{extra}]")
    session.install("--force-reinstall", "--no-deps", str(wheel))


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Strict types."""
    session.install("mypy>=1.14", "nox", "types-psutil", ".[test,browser]")
    session.run("mypy")


# On the oldest Python the tests of the kernel's side that need no sandbox are run, and one road through each layer.
ROADS = (
    "tests/embedded/server/test_process.py",
    "tests/magics/test_kernel.py",
    "tests/magics/test_run.py",
    "tests/sandboxes/test_commands.py",
)


@nox.session(python=OLDEST_AND_NEWEST)
def tests(session: nox.Session) -> None:
    """The tests, against the wheel: all on the newest Python, on the oldest the roads that lead through every layer."""
    _install_wheel(session, "test")
    if session.python == OLDEST_AND_NEWEST[-1]:
        session.run("pytest", "tests", "--ignore=tests/browser", *session.posargs)
        return
    left_out = (f"--ignore=tests/{folder}" for folder in ("browser", "embedded", "panels", "server_extension"))
    alone = ("tests", *left_out, "-m", "not sandbox and not slow and not network")
    session.run("pytest", *alone, *session.posargs)
    session.run("pytest", *ROADS, "-m", "sandbox and not slow and not network", *session.posargs)


@nox.session
def jupyter(session: nox.Session) -> None:
    """What is seen in Jupyter, in one environment: `browser` and `notebooks`."""
    _install_wheel(session, "test,browser")
    _run_browser(session)
    _run_notebooks(session)


@nox.session
def browser(session: nox.Session) -> None:
    """The panels in a real JupyterLab and Notebook 7 in the system's Chromium, against the wheel."""
    _install_wheel(session, "test,browser")
    _run_browser(session)


@nox.session
def notebooks(session: nox.Session) -> None:
    """The notebooks, run and compared with the outputs that they hold."""
    _install_wheel(session, "test")
    _run_notebooks(session)


def _run_browser(session: nox.Session) -> None:
    session.run("pytest", "tests/browser", *session.posargs)


def _run_notebooks(session: nox.Session) -> None:
    # A state of their own: what an earlier run left in the user's would be met by this one.
    state = Path(session.create_tmp()).resolve() / "state"
    shutil.rmtree(state, ignore_errors=True)
    session.env["E2B_MAGIC_DIRECTORY"] = str(state)
    sanitize = ("--nbval-sanitize-with", "notebooks/sanitize.cfg")
    try:
        session.run("pytest", "--nbval", *sanitize, "notebooks", *session.posargs)
    finally:
        session.run("e2b-magic", "stop", success_codes=[0, 1])


@nox.session
def benchmarks(session: nox.Session) -> None:
    """The figures of docs/benchmarks.md, each beside a peer in the same run; `-- --strict` fails on a missed bound."""
    _install_wheel(session, "test")
    for script in sorted(set(Path("benchmarks").glob("*.py")) - {Path("benchmarks/comparison.py")}):
        session.run("python", str(script), *session.posargs)


@nox.session
def sdk_suite(session: nox.Session) -> None:
    """E2B's own tests of its SDK, against the embedded server: `-- CLONE [PATH...] [--sdk VERSION]... [--times N]`."""
    session.install(".[test]")
    session.run("python", "-m", "tests.sdk_suite.run", *session.posargs)
