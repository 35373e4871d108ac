"""The stop button at random moments: over commands, uploads and setups, at their first moment and at their last."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2b_magic.embedded import runtime
from tests.magics.kernels import PROMPT_WITHIN, environment_in, text_of
from tests.magics.sessions import Session, errors, session_in

pytestmark = pytest.mark.sandbox

LEFT = (
    "grep -laz 5432[1] /proc/[0-9]*/cmdline | wc -l; "
    "find ~ /tmp -name '.big.*' -o -name '.tree.*' -o -name '.e2b-magic-*' | wc -l; "
    "stat -c %s big 2>/dev/null || echo none"
)
"""What counts the processes and the half-written files that are left, and says how large the uploaded file is."""
BIG = 3 * 1024**3
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Gives a kernel with a sandbox, and with a large file and a tree to upload."""
    directory = tmp_path_factory.mktemp("interrupts")
    with (directory / "big").open("wb") as big:
        big.truncate(BIG)
    (directory / "tree").mkdir()
    for number in range(2000):
        (directory / "tree" / f"{number}").write_bytes(b"x" * 20_000)
    with session_in(directory) as kernel:
        kernel.run(f"here = {str(directory)!r}\nr = %e2b run --quiet true")
        yield kernel


@pytest.fixture(scope="module")
def allowed(kernel: Session) -> float:
    """Gives how soon the prompt has to be back on this machine: two seconds more than for a cell that only sleeps."""
    return PROMPT_WITHIN + max(kernel.interrupt("import time; time.sleep(60)", 0.1)[1] for _ in range(3))


def _check(kernel: Session, cell: str, after: float, allowed: float) -> None:
    messages, took = kernel.interrupt(cell, after)
    assert took < allowed, f"{took:.2f} s after an interrupt at {after:.3f} s"
    assert errors(messages) in (["KeyboardInterrupt"], [])  # none when the cell had ended a moment before
    following = kernel.run("r = %e2b run --no-cache echo next")
    assert (text_of(following), errors(following)) == ("next\n", [])


def _left(kernel: Session, project: str) -> str:
    """Gives what is left in a sandbox: at once, or where a busy machine ends it a moment after the prompt came back."""
    deadline = time.monotonic() + 20
    while True:
        left = " ".join(text_of(kernel.run(f"r = %e2b run --no-cache -p {project} {LEFT}")).split())
        if left.startswith("0 0 ") or time.monotonic() > deadline:
            return left


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "rounds", "longest"),
    [
        ("%e2b run --no-cache echo on; sleep 54321", 12, 0.3),
        ("%e2b run --no-cache echo on; sleep 54321 & sleep 54321", 4, 0.3),
        ("%e2b run --no-cache echo over", 7, 0.02),
        ("%e2b put {here}/big big", 10, 0.4),
        ("%e2b put {here}/tree tree", 8, 0.3),
        ("%e2b setup made --template python --install 'echo installing; sleep 54321'", 8, 0.3),
    ],
    ids=["a command", "a command with another behind it", "a command's last moments", "a file", "a tree", "a setup"],
)
def test_the_stop_button_is_obeyed_at_any_moment(
    kernel: Session, allowed: float, cell: str, rounds: int, longest: float
) -> None:
    """The prompt is back in time, the next cell works, and neither a process nor half a file is left."""
    chance = random.Random(cell)
    for _ in range(rounds):
        _check(kernel, cell, chance.uniform(0, longest), allowed)
    for project in ("default", "made"):
        assert _left(kernel, project) in ("0 0 none", f"0 0 {BIG}")


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.0, 0.2, 0.5])
def test_the_first_moments_may_be_interrupted_too(
    tmp_path: Path, kernel: Session, allowed: float, after: float
) -> None:
    """While the SDK is imported, the server started and the sandbox made, the prompt comes back; the next cell runs."""
    with session_in(tmp_path) as fresh:
        _check(fresh, "%e2b run --no-cache echo on; sleep 54321", after, allowed)
        assert _left(fresh, "default") == "0 0 none"


def test_the_first_command_may_be_interrupted_at_any_step(tmp_path: Path) -> None:
    """Wherever in a session's first command a Ctrl-C comes, imports and locks included, the next command works."""
    program = f"import sys; sys.path.append({str(ROOT)!r}); from tests.magics.first_command import main; main(9)"
    environment = environment_in(tmp_path / "e2b-magic")
    try:
        told = subprocess.run(
            [sys.executable, "-P", "-c", program], env=environment, check=True, capture_output=True, text=True
        )
    finally:
        runtime.stop(tmp_path / "e2b-magic" / "embedded")
    assert told.stdout == "tried 9\n", told.stderr


@pytest.mark.parametrize("cell", ["%e2b run --no-cache sleep 54321", "%e2b put {here}/big big"])
def test_a_server_that_stands_still_holds_no_prompt(kernel: Session, allowed: float, cell: str) -> None:
    """With the server stopped in the middle the prompt comes back in time all the same."""
    directory = text_of(kernel.run("import os; print(os.environ['E2B_MAGIC_DIRECTORY'])")).strip()
    server = runtime.status(Path(directory) / "embedded")
    assert server is not None
    kernel.run(f"import signal, threading\nthreading.Timer(0.3, os.kill, ({server.pid}, signal.SIGSTOP)).start()")
    try:
        messages, took = kernel.interrupt(cell, 0.6)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert errors(messages) == ["KeyboardInterrupt"]
    assert took < allowed
    assert text_of(kernel.run("r = %e2b run --no-cache echo next")) == "next\n"
