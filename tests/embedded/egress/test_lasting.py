"""Rules last as long as their sandbox: over pauses of either kind, and into the copies that are made of it."""

from __future__ import annotations

from typing import Literal

import pytest
from e2b import Sandbox

from tests.embedded.in_process import InProcess

from .conftest import OTHER, PUBLIC, Listener, Speak

pytestmark = pytest.mark.sandbox


@pytest.mark.parametrize("mode", ["full", "filesystem"])
def test_rules_survive_a_pause(
    mode: Literal["full", "filesystem"], served: InProcess, public: Listener, other: Listener
) -> None:
    """A sandbox that is resumed has the rules that it had last, whether its processes were kept or not."""
    sandbox = Sandbox.create(**served.options, allow_internet_access=False)
    sandbox.update_network({"deny_out": [OTHER]})
    sandbox.pause(mode=mode)
    resumed = Speak(Sandbox.connect(sandbox.sandbox_id, **served.options))
    assert b"hello" in resumed.connect(PUBLIC, public.port)
    assert resumed.connect(OTHER, other.port).startswith(b"HTTP/1.1 403 ")
    resumed.sandbox.update_network({"allow_internet_access": False})
    assert resumed.connect(PUBLIC, public.port).startswith(b"HTTP/1.1 403 ")
    assert other.visits == 0


def test_a_fork_has_the_rules_of_its_origin(served: InProcess, public: Listener, other: Listener) -> None:
    """A copy may reach no more than the sandbox that it was made of, and has rules of its own from then on."""
    sandbox = Sandbox.create(**served.options, network={"deny_out": [OTHER]})
    (fork,) = sandbox.fork()
    assert isinstance(fork, Sandbox)
    copied = Speak(fork)
    assert copied.connect(OTHER, other.port).startswith(b"HTTP/1.1 403 ")
    assert b"hello" in copied.connect(PUBLIC, public.port)
    fork.update_network({"allow_internet_access": False})
    assert copied.connect(PUBLIC, public.port).startswith(b"HTTP/1.1 403 ")
    assert b"hello" in Speak(sandbox).connect(PUBLIC, public.port)
    assert other.visits == 0
