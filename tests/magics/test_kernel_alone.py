"""What a kernel alone shows, with no front end of ours: texts and HTML, updates by display id, Tab, long output."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2b_magic.embedded import runtime
from tests.magics.kernels import text_of
from tests.magics.sessions import Session, errors, session_in

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gives the directory of the module's kernel."""
    return tmp_path_factory.mktemp("alone")


@pytest.fixture(scope="module")
def kernel(directory: Path) -> Iterator[Session]:
    """Gives a kernel with a sandbox."""
    with session_in(directory) as kernel:
        kernel.run("r = %e2b run --quiet mkdir -p inside && touch inside/found.txt")
        yield kernel


@pytest.mark.parametrize(
    "line",
    ["run echo hi", "ls", "tree", "history", "cache", "status", "sandboxes", "info", "projects", "jobs", "config"],
)
def test_what_is_shown_needs_no_front_end(kernel: Session, line: str) -> None:
    """A value is text that reads well, and HTML without scripts, as VS Code and Colab show it too."""
    messages = kernel.run(f"%e2b {line}")
    (shown,) = [one["content"]["data"] for one in messages if one["msg_type"] == "execute_result"]
    assert set(shown) == {"text/plain", "text/html"}
    assert not any(word in shown["text/plain"] for word in ("e2b_magic.", " object at ", "Table(", "[<"))
    assert "<script" not in shown["text/html"]


def test_a_bar_is_one_output_that_changes(kernel: Session) -> None:
    """Progress is shown once and updated under its display id; as text it reads well; it is empty at the end."""
    messages = kernel.run(
        "import time\n"
        "from e2b_magic.magics.progress import ProgressBar\n"
        "with ProgressBar('put big') as bar:\n"
        "    for done in range(12):\n"
        "        bar(done * 10**6, 12 * 10**6)\n"
        "        time.sleep(0.12)\n"
    )
    shown = [one for one in messages if one["msg_type"] in ("display_data", "update_display_data")]
    assert [one["msg_type"] for one in shown] == ["display_data"] + ["update_display_data"] * (len(shown) - 1)
    assert len(shown) > 2
    assert len({one["content"]["transient"]["display_id"] for one in shown}) == 1
    assert shown[0]["content"]["data"]["text/plain"].startswith("put big: ")
    assert " of 12 MB, " in shown[0]["content"]["data"]["text/plain"]
    assert shown[-1]["content"]["data"]["text/plain"] == ""


@pytest.mark.parametrize("code", ["%e2b cat inside/f", "r = %e2b run cat other/"])
def test_tab_does_not_wait_for_a_server_that_stands_still(kernel: Session, directory: Path, code: str) -> None:
    """With the server stopped a kernel answers Tab within 50 ms, beside what it needs for any completion."""
    server = runtime.status(directory / "e2b-magic" / "embedded")
    assert server is not None
    kernel.complete("%e2b cat ins")  # what is imported once is imported now

    def took(text: str) -> float:
        began = time.perf_counter()
        kernel.complete(text)
        return time.perf_counter() - began

    time.sleep(2.1)  # until what was listed a moment ago is old
    usual = statistics.median(took("%e2b hist") for _ in range(7))
    os.kill(server.pid, signal.SIGSTOP)
    try:
        stopped = statistics.median(took(code) for _ in range(7))
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert stopped - usual < 0.050
    deadline = time.monotonic() + 30
    while "inside/found.txt" not in kernel.complete("%e2b cat inside/f"):
        assert time.monotonic() < deadline


def _peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.slow
def test_a_gigabyte_of_output_is_survived(kernel: Session) -> None:
    """It runs through without a line's end; notebook, result and the kernel's memory stay small, and all is marked."""
    pid = int(text_of(kernel.run("import os; print(os.getpid())")))
    kernel.run("r = %e2b run --no-cache head -c 3000000 /dev/zero | tr '\\0' x")
    before = _peak(pid)
    began = time.monotonic()
    messages = kernel.run("r = %e2b run --no-cache head -c 1000000000 /dev/zero | tr '\\0' x; echo the end")
    assert errors(messages) == []
    shown = text_of(messages)
    assert len(shown) < 2_000_000
    assert shown.endswith("the end\n")
    assert "left out" in shown
    assert _peak(pid) - before < 100_000_000, f"after {time.monotonic() - began:.0f} s"
    assert (
        text_of(kernel.run("print(r.truncated, len(r.stdout) < 10_000_000, r.stdout[-8:-1])")) == "True True the end\n"
    )
