"""Headers that a sandbox's creator has put into its requests, and which nothing inside it sees."""

from __future__ import annotations

from typing import Any

import pytest
from e2b import Sandbox

from e2b_magic.embedded.egress.destination import Destination
from e2b_magic.embedded.egress.names import NamePattern
from e2b_magic.embedded.egress.transforms import Transform, transform_for
from tests.embedded.in_process import InProcess

from .conftest import TUNNEL, Listener, Origin, Speak, until

# Holds a tunnel open, and says how it ends.
_HOLD = """
connection = tunnel("ok.test", {port})
print(connection.recv(100))
try:
    print(connection.recv(100))
except ConnectionResetError:
    print("cut")
"""


def _ruled(served: InProcess, **headers: str) -> Speak:
    rules = {"ok.test": [{"transform": {"headers": headers}}]}
    options: Any = {**served.options, "network": {"rules": rules}}
    return Speak(Sandbox.create(**options))


def _get(host: str, port: int) -> bytes:
    return f"GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}\r\nX-Key: mine\r\nX-Key: too\r\n\r\n".encode()


@pytest.mark.sandbox
def test_a_header_takes_the_place_of_the_sandboxs_own(served: InProcess, origin: Origin) -> None:
    """Requests to the rule's host carry its headers, in place of what the sandbox said; those to others do not."""
    speak = _ruled(served, **{"x-key": "canary", "X-Other": "2"})
    assert speak(_get("OK.test", origin.port)).endswith(b"ok")
    assert speak(_get("sub.ok.test", origin.port)).endswith(b"ok")
    ruled, other = ([line for line in heard.split(b"\r\n") if line.lower().startswith(b"x-")] for heard in origin.heard)
    assert ruled == [b"x-key: canary", b"X-Other: 2"]
    assert other == [b"X-Key: mine", b"X-Key: too"]


@pytest.mark.sandbox
def test_nothing_goes_without_it(served: InProcess, public: Listener) -> None:
    """A tunnel to the rule's host, into which nobody sees, is refused, and cut by a rule that comes later."""
    speak = _ruled(served, A="b")
    answer = speak.connect("ok.test", public.port)
    assert answer.startswith(b"HTTP/1.1 501 ")
    assert b"only plain http://" in answer
    assert public.visits == 0
    speak.sandbox.update_network({})
    speak.sandbox.files.write("/tmp/hold.py", TUNNEL + _HOLD.format(port=public.port))
    held = speak.sandbox.commands.run("python3 -u /tmp/hold.py", background=True)
    until(lambda: public.visits == 1)
    speak.sandbox.update_network({"rules": {"ok.test": [{"transform": {"headers": {"A": "b"}}}]}})
    assert held.wait().stdout == "b'hello\\n'\ncut\n"


@pytest.mark.sandbox
def test_a_key_in_it_is_nowhere_inside(served: InProcess, origin: Origin) -> None:
    """What a rule puts in is in no process's environment, and in no repr."""
    sandbox = _ruled(served, A="canary").sandbox
    assert "canary" not in sandbox.commands.run("cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'; true").stdout
    live = served.sandboxes.get(sandbox.sandbox_id)
    assert live is not None
    assert live.egress.policy.transforms
    assert "canary" not in repr((live.egress.policy, live.record.creation))


def test_one_rule_holds_and_the_nearest() -> None:
    """An exact name's rule comes before those for the names below one, and of these the longest's."""
    rules = [Transform(NamePattern.parse(text), ()) for text in ("*.test", "*.a.test", "b.a.test")]
    for host, name in {"b.a.test": "b.a.test", "c.b.a.test": "a.test", "c.a.test": "a.test", "a.test": "test"}.items():
        found = transform_for(Destination(host, 80), rules)
        assert found is not None
        assert found.pattern.name == name
    assert transform_for(Destination("test", 80), rules) is None
