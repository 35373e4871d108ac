"""Packs the agent into one file of bytecode, which a bare Python runs without an import from a directory.

Compiling the agent takes longer than all the rest of a sandbox's start, so it is done once a daemon, by the very
interpreter that will run it (bytecode is only good for its own version).
"""

from __future__ import annotations

import importlib.util
import marshal
from functools import cache
from pathlib import Path

AGENT = "e2b_magic.embedded.agent"
# By what they need of each other: each comes after all that it imports.
MODULES = (
    *("failures", "channel", "loop", "users", "entries", "confinement", "oom_score", "starting", "terminals"),
    *("processes", "files", "trees", "ports", "inotify", "watcher", "watching", "outlet"),
)
# The last module is run as the program; the others are put where `import` looks first.
_BOOTSTRAP = """
import marshal, sys
packed = marshal.loads({packed!r})
for name in {packages!r}:
    sys.modules[name] = type(sys)(name)
for name, code in packed[:-1]:
    module = sys.modules[name] = type(sys)(name)
    package, _, own = name.rpartition(".")
    setattr(sys.modules[package], own, module)
    exec(code, module.__dict__)
exec(packed[-1][1], {{"__name__": "__main__"}})
"""


def _compile(module: str) -> tuple[str, object]:
    path = Path(__file__).parents[1] / "agent" / f"{module}.py"
    # A neutral file name: the agent's tracebacks must not tell where this package is installed.
    code = compile(path.read_bytes(), f"<agent/{module}>", "exec", dont_inherit=True, optimize=2)
    return f"{AGENT}.{module}", code


@cache
def agent_bytecode() -> bytes:
    """Gives the agent as the contents of a `.pyc` file for the running interpreter."""
    packed = marshal.dumps([_compile(module) for module in (*MODULES, "main")])
    packages = [AGENT.rsplit(".", dots)[0] if dots else AGENT for dots in (2, 1, 0)]
    bootstrap = compile(_BOOTSTRAP.format(packed=packed, packages=packages), "<agent>", "exec", dont_inherit=True)
    # The header of PEP 552: the magic number, then flags, time and size, which a program run by name may leave zero.
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(bootstrap)
