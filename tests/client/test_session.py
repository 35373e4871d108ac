"""Sessions and their end."""

from __future__ import annotations

import os
import subprocess
import sys

from e2b_magic.client.session import has_died, own_session


def test_the_own_session_is_alive() -> None:
    """A session that is asked about itself has not died."""
    assert not has_died(own_session())


def test_a_process_that_ended_has_died() -> None:
    """The session of a process that is no more is over."""
    code = "from e2b_magic.client.session import own_session; print(own_session())"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert has_died(told.stdout.strip())


def test_a_number_used_again_is_not_the_same_process() -> None:
    """A session whose process number now belongs to another process is over."""
    host, process, began = own_session().rsplit("/", 2)
    assert process == str(os.getpid())
    assert has_died(f"{host}/{process}/{float(began) - 1000:.2f}")


def test_what_cannot_be_told_is_not_called_dead() -> None:
    """A session on another host, or a garbled id, is left alone."""
    assert not has_died("elsewhere/1/1.0")
    assert not has_died("garbled")
