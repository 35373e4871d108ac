"""An agent that was taken over, as a client of the SDK meets it: its sandbox is gone, and nobody else's."""

from __future__ import annotations

import importlib.util
import marshal
import time

import pytest
from e2b import Sandbox, SandboxException

from e2b_magic.embedded.containment import launcher as launcher_module

from .conftest import Boxes

pytestmark = pytest.mark.sandbox

# Says what an honest agent would, until it is asked about a file.
PRELUDE = """
import json, marshal, os, socket, sys, time
channel = socket.socket(fileno=int(sys.argv[1]))
channel.recv(65536)
def say(message, descriptors=()):
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    socket.send_fds(channel, [b"." + data], descriptors)
say({"ready": True})
while True:
    asked = marshal.loads(channel.recv(65536)[1:])
    if asked["do"] == "set_environment":
        say({"id": asked["id"], "result": None})
    elif asked["do"] != "accept":
        break
number = asked["id"]
"""
LIES = {
    "no JSON": "say(b'{')",
    "another's answer": "say({'id': number + 1, 'result': None})",
    "a wrong result": "say({'id': number, 'result': [{}]})",
    "two answers in one another": "channel.send(b'+{'); say({'id': number, 'result': None})",
    "an endless answer": "while True: channel.send(b'+' + b'x' * 60000)",
    "a flood of descriptors": "say({'id': number, 'result': None}, [0] * 200)",
    "a flood of ends": "while True: say({'exit': 5, 'code': 0, 'signal': None})",
    "death": "os._exit(0)",
}


@pytest.mark.parametrize("lie", [pytest.param(script, id=name) for name, script in LIES.items()])
def test_a_liar_harms_itself_alone(lie: str, boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks a lying sandbox is told that it is gone; another of the same server goes on, and new ones are made."""
    other = boxes.without()
    code = compile(f"{PRELUDE}{lie}\ntime.sleep(60)", "<lie>", "exec")
    packed = importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)
    with monkeypatch.context() as patch:
        patch.setattr(launcher_module, "agent_bytecode", lambda: packed)
        liar = boxes.new()
    with pytest.raises(SandboxException) as raised:
        liar.files.exists("/x", request_timeout=30)
    assert "timed out" not in str(raised.value)
    deadline = time.monotonic() + 30
    while liar.is_running():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert other.commands.run("echo alive").stdout == "alive\n"
    with Sandbox.create(**boxes.server().options) as new:
        assert new.commands.run("echo new").stdout == "new\n"


def test_one_that_says_nothing_can_be_killed(boxes: Boxes, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that answers no question keeps its asker waiting as long as that likes, and goes when it is told to."""
    code = compile(f"{PRELUDE}time.sleep(600)", "<lie>", "exec")
    packed = importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)
    monkeypatch.setattr(launcher_module, "agent_bytecode", lambda: packed)
    silent = boxes.new()
    with pytest.raises(SandboxException):
        silent.files.exists("/x", request_timeout=1)
    assert silent.kill()
    assert not silent.is_running()
