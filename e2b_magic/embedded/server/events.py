"""The events of a process's life, in E2B's words."""

from __future__ import annotations

import signal
from typing import Literal

from e2b.envd.process.process_pb import ProcessEvent
from protobuf import Oneof

from e2b_magic.embedded.sandbox.sandbox import ExitStatus

Channel = Literal["stdout", "stderr", "pty"]

KEEPALIVE = ProcessEvent(
    event=Oneof[Literal["keepalive"], ProcessEvent.KeepAlive]("keepalive", ProcessEvent.KeepAlive())
)


def start_event(pid: int) -> ProcessEvent:
    """Gives the event that a stream begins with."""
    start = ProcessEvent.StartEvent(pid=pid)
    return ProcessEvent(event=Oneof[Literal["start"], ProcessEvent.StartEvent]("start", start))


def data_event(channel: Channel, chunk: bytes) -> ProcessEvent:
    """Gives the event that carries a chunk of output."""
    # The three channels are three types to mypy, which does not see that one of them is meant.
    data = ProcessEvent.DataEvent(output=Oneof(channel, chunk))  # type: ignore[arg-type]  # the channel's name decides the type
    return ProcessEvent(event=Oneof[Literal["data"], ProcessEvent.DataEvent]("data", data))


def end_event(status: ExitStatus) -> ProcessEvent:
    """Gives the event that tells how a process ended, in the words of Go's os.ProcessState."""
    if status.signal is not None:
        words = f"signal: {(signal.strsignal(status.signal) or str(status.signal)).lower()}"
        end = ProcessEvent.EndEvent(exit_code=-1, exited=False, status=words, error=words)
    elif status.code:
        words = f"exit status {status.code}"
        end = ProcessEvent.EndEvent(exit_code=status.code, exited=True, status=words, error=words)
    else:
        end = ProcessEvent.EndEvent(exit_code=0, exited=True, status="exit status 0")
    return ProcessEvent(event=Oneof[Literal["end"], ProcessEvent.EndEvent]("end", end))
