"""A session's first command, broken by a Ctrl-C at one step after the other, each time in a process of its own.

Run as a program, since a process that has used a client's loop already cannot be forked. It prints a line for each
step after which the next command did not work, and at last the number of those that were tried.
"""

from __future__ import annotations

import faulthandler
import io
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from functools import partial

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from tests.interrupting import Step, interrupted, steps_of

AT_ONCE = 3
"""How many steps are tried at the same time."""
PATIENCE = 60
"""How long the next command may take, in seconds."""
AT_ALL_EVENTS: tuple[Step, ...] = (
    ("call", "_releaseLock"),
    ("c_return", "_acquireLock"),
    ("call", "Condition.__exit__"),
    ("c_return", "Condition.__enter__"),
)
"""Steps at which a lock of the standard library's is left taken that other threads take too."""


def main(count: int) -> None:
    """Tries so many steps."""
    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    shell.run_line_magic("load_ext", "e2b_magic")
    import e2b  # noqa: F401  else each try would import it for itself; and asyncio, which every kernel has

    (steps,) = in_children([lambda: json.dumps(steps_of(lambda: run(shell, "--quiet true")))])
    told = json.loads(steps)
    tried = list(chosen([(event, name) for event, name in told], count))
    for first in range(0, count, AT_ONCE):
        some = tried[first : first + AT_ONCE]
        for step, said in zip(some, in_children([partial(after, shell, step) for step in some]), strict=True):
            if said != "next\n":
                print(step, told[step], said)
    print("tried", len(tried))


def chosen(steps: list[Step], count: int) -> Iterable[int]:
    """Gives numbers of steps: the first of each that has to be among them, and others, rare ones as likely as any."""
    first = {step: number for number, step in reversed(list(enumerate(steps)))}
    wanted = [first[step] for step in AT_ALL_EVENTS if step in first]
    chance = random.Random(count)
    often = Counter(steps)
    kinds = chance.sample(sorted(often), count - len(wanted))
    picked = [(kind, chance.randrange(often[kind])) for kind in kinds]
    places = {kind: [number for number, step in enumerate(steps) if step == kind] for kind, _ in picked}
    return sorted(wanted + [places[kind][turn] for kind, turn in picked])


def after(shell: InteractiveShell, step: int) -> str:
    """Gives what the next command wrote, when a Ctrl-C came at a step of the first."""
    kept = interrupted(step, lambda: run(shell, "--quiet true"))  # as IPython does, with all that its frames hold
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    with redirect_stdout(io.StringIO()) as said:
        run(shell, "echo next")
    del kept
    return said.getvalue()


def run(shell: InteractiveShell, command: str) -> None:
    """Runs a command."""
    shell.run_line_magic("e2b", f"run --no-cache {command}")


def in_children(works: Iterable[Callable[[], str]]) -> list[str]:
    """Gives what each work gives in a forked child of its own, all at the same time; nothing where that dies."""
    told = []
    for child, reading in [in_child(work) for work in works]:
        with os.fdopen(reading, encoding="utf-8") as pipe:
            told.append(pipe.read())
        os.waitpid(child, 0)
    return told


def in_child(work: Callable[[], str]) -> tuple[int, int]:
    """Gives the process id of a forked child, and where what it gives is read."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w", encoding="utf-8") as pipe:
            pipe.write(work())
        os._exit(0)
    os.close(writing)
    return child, reading


if __name__ == "__main__":
    main(int(sys.argv[1]))
