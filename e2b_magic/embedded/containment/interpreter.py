"""The Python that runs the agent: the daemon's own base interpreter, and how it looks from inside.

One that lies below `/usr` is there inside as well. Any other (pyenv's, conda's, uv's) is shown at a fixed, neutral
path, by its library directory and its program alone: what else lies in its prefix, other environments and
settings say, is none of a sandbox's business.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from e2b_magic.exceptions import ContainmentError

INSIDE = "/opt/e2b-magic/python"
LOADER = "/opt/e2b-magic/loader"
# The modules in files of their own, not in the interpreter itself, that the agent imports on some Python or other.
_NEEDED = ("_ctypes", "_json", "_socket", "_struct", "fcntl", "resource", "select", "termios")
# The loader that a program names, which stands in its first page (elf(5), PT_INTERP).
_NAMED_LOADER = re.compile(rb"/[\x21-\x7e]*/ld[-.\w]*\.so[.\w]*(?=\0)")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Where a Python is, outside and inside.

    Attributes:
        program: Its path inside.
        shown: What of the host is shown where, read-only: pairs of a host path and one inside.
        names: Names beside `program` that lead to it.
        library_path: What `LD_LIBRARY_PATH` must be inside for it to start; empty when nothing.
        search_path: The directory inside in which `python3` is found, if the host has none in `/usr`; else empty.
        loader: What it is started by, with the loader's options; empty for the loader that it names itself.
    """

    program: str
    shown: tuple[tuple[Path, str], ...] = ()
    names: tuple[str, ...] = ()
    library_path: str = ""
    search_path: str = ""
    loader: tuple[str, ...] = ()


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


def bring_along() -> Interpreter:
    """Gives the running Python's base interpreter as it runs in any tree: with its loader and all its libraries.

    Whatever C library the tree has, it is started by its own loader from its own files. What else runs in the sandbox
    does not see these: they are on no search path.

    Raises:
        ContainmentError: It names no loader, as a statically linked one does not, or its libraries are not found.
    """
    prefix = Path(sys.base_prefix).resolve()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    program = _program(prefix, version)
    standard = Path(sysconfig.get_path("stdlib", vars={"installed_base": str(prefix), "base": str(prefix)}))
    loader, libraries = _libraries(program, standard)
    inside = f"{INSIDE}/bin/{version}"
    shown = [(program, inside), (standard, f"{INSIDE}/{standard.relative_to(prefix)}")]
    shown += [(path, f"{LOADER}/{name}") for name, path in libraries.items()]
    return Interpreter(
        program=inside,
        shown=(*shown, (loader, f"{LOADER}/{loader.name}")),
        loader=(f"{LOADER}/{loader.name}", "--library-path", LOADER),
    )


def _libraries(program: Path, standard: Path) -> tuple[Path, dict[str, Path]]:
    """Gives a program's loader, and by name the libraries that it and the modules needed are linked against."""
    with program.open("rb") as file:
        named = _NAMED_LOADER.search(file.read(4096))
    if named is None:
        raise ContainmentError(f"{program} names no loader, so it cannot be brought into a template's tree.")
    loader = Path(named[0].decode()).resolve()
    modules = [path for name in _NEEDED for path in standard.glob(f"lib-dynload/{name}.*.so")]
    found: dict[str, Path] = {}
    for path in (program, *modules):
        found |= _linked(loader, path)
    return loader, found


def _linked(loader: Path, path: Path) -> dict[str, Path]:
    told = subprocess.run([loader, "--list", path], check=False, capture_output=True, text=True)
    if told.returncode != 0:
        raise ContainmentError(f"The libraries of {path} were not found: {told.stderr.strip() or told.stdout.strip()}.")
    lines = re.findall(r"^\s*(\S+) => (/\S+)", told.stdout, re.MULTILINE)
    return {name: Path(where).resolve() for name, where in lines}
