"""Rules last as long as their sandbox: over pauses of either kind, and into the copies that are made of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Literal

import pytest
from e2b import Sandbox

from e2b_magic.embedded.server import pauses
from e2b_magic.embedded.server.live import LiveSandbox
from tests.embedded.in_process import InProcess

from .conftest import OTHER, PUBLIC, Listener, SlowNames, Speak

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


@contextmanager
def _changing(served: InProcess, names: SlowNames, sandbox: Sandbox) -> Iterator[Future[int]]:
    """Has rules changed that are under way inside, and come through when `names` are released; gives the status."""
    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(_put, served, sandbox)
        assert names.asked.wait(20)
        yield putting


def _put(served: InProcess, sandbox: Sandbox) -> int:
    """Denies everything, by a proxy whose name is long in being looked up; gives the answer's status."""
    change = {"denyOut": ["0.0.0.0/0"], "egressProxy": {"address": "slow.test:1080"}}
    with served.control() as control:
        return control.put(f"/sandboxes/{sandbox.sandbox_id}/network", json=change, timeout=30).status_code


def _rest(sandbox: Sandbox) -> None:
    sandbox.pause(mode="filesystem")
    sandbox.connect()


def test_a_change_that_takes_long_is_not_lost(slow: tuple[InProcess, SlowNames]) -> None:
    """Rules that are answered with success are in force, also where the sandbox is paused while they are checked."""
    served, names = slow
    sandbox = Sandbox.create(**served.options)
    with _changing(served, names, sandbox) as putting, ThreadPoolExecutor(1) as pool:
        resting = pool.submit(_rest, sandbox)
        wait([resting], timeout=1)  # it gets as far as it can
        names.release.set()
        resting.result(30)
        assert putting.result(30) == 204
    live = served.sandboxes.get(sandbox.sandbox_id)
    assert live is not None
    assert live.egress.policy.denied
    assert live.egress.policy.proxy is not None


def test_a_change_of_what_is_killed_is_no_success(slow: tuple[InProcess, SlowNames]) -> None:
    """A sandbox that is killed while its new rules are checked is told to be gone."""
    served, names = slow
    sandbox = Sandbox.create(**served.options)
    with _changing(served, names, sandbox) as putting:
        assert sandbox.kill()
        names.release.set()
        assert putting.result(30) == 404


def test_what_is_resumed_while_the_server_ends_is_ended(served: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen sandbox that comes round when the server has closed is not entered, for nobody would end it."""
    sandbox = Sandbox.create(**served.options)
    sandbox.pause()
    frozen = served.sandboxes.pauses._paused[sandbox.sandbox_id]
    assert frozen is not None

    async def goes_on(_: LiveSandbox) -> bool:
        await served.sandboxes.close()
        return True

    monkeypatch.setattr(pauses, "_goes_on", goes_on)
    with served.control() as control:
        assert control.post(f"/sandboxes/{sandbox.sandbox_id}/connect", json={"timeout": 60}).status_code == 503
    assert len(served.sandboxes) == 0
    assert frozen.contained.ended.done()
