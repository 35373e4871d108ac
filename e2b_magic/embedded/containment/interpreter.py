"""The Python that runs the agent: the daemon's own base interpreter, and how it looks from inside.

One that lies below `/usr` is there inside as well. Any other (pyenv's, conda's, uv's) is shown at a fixed, neutral
path, by its library directory and its program alone: what else lies in its prefix, other environments and
settings say, is none of a sandbox's business.
"""

from __future__ import annotations

import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from e2b_magic.exceptions import ContainmentError

INSIDE = "/opt/e2b-magic/python"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Where a Python is, outside and inside.

    Attributes:
        program: Its path inside.
        shown: What of the host is shown where, read-only: pairs of a host path and one inside.
        names: Names beside `program` that lead to it.
        library_path: What `LD_LIBRARY_PATH` must be inside for it to start; empty when nothing.
        search_path: The directory inside in which `python3` is found, if the host has none in `/usr`; else empty.
    """

    program: str
    shown: tuple[tuple[Path, str], ...] = ()
    names: tuple[str, ...] = ()
    library_path: str = ""
    search_path: str = ""


def find_interpreter() -> Interpreter:
    """Gives the running Python's base interpreter.

    Raises:
        ContainmentError: Its files are not where Python says they are.
    """
    prefix = Path(sys.base_prefix).resolve()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    program = _program(prefix, version)
    if program.is_relative_to("/usr"):
        return Interpreter(program=str(program))
    library = prefix / "lib"
    if not (library / version / "os.py").is_file():
        raise ContainmentError(
            f"The Python at {prefix} has no {library / version}/os.py, so its library cannot be shown to a sandbox.",
            "Use a Python from your system, pyenv, conda or uv.",
        )
    shared = bool(sysconfig.get_config_var("Py_ENABLE_SHARED"))
    return Interpreter(
        program=f"{INSIDE}/bin/{version}",
        shown=((library, f"{INSIDE}/lib"), (program, f"{INSIDE}/bin/{version}")),
        names=("python3", "python"),
        library_path=f"{INSIDE}/lib" if shared else "",
        search_path="" if Path("/usr/bin/python3").exists() else f"{INSIDE}/bin",
    )


def _program(prefix: Path, version: str) -> Path:
    for candidate in (prefix / "bin" / version, Path(getattr(sys, "_base_executable", "") or sys.executable)):
        if candidate.is_file():
            return candidate.resolve()
    raise ContainmentError(
        f"The Python that this runs on was not found: {prefix}/bin/{version} is missing.", "Reinstall it."
    )
