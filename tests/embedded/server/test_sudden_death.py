"""A server that is killed while it creates, takes files, copies, pauses and kills, at moments that nobody chose."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

# How many servers die; more of them find more (E2B_MAGIC_TEST_DEATHS=100).
DEATHS = int(os.environ.get("E2B_MAGIC_TEST_DEATHS", "3"))


@pytest.mark.sandbox
@pytest.mark.usefixtures("launcher")
@pytest.mark.timeout(120 + 60 * DEATHS)
def test_whenever_it_dies_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process, control group, mount or half a copy is left, the paused are there, and clients are told plainly."""
    monkeypatch.setenv("E2B_MAGIC_POOL", "0")
    seed = random.SystemRandom().randrange(2**32)
    program = Path(__file__).with_name("sudden_death.py")
    command = [sys.executable, str(program), str(tmp_path / "embedded"), str(seed), str(DEATHS)]
    told = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, ""), f"with the seed {seed}: {told.stderr}"
