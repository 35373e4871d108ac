"""The output of a process, from a pipe to whoever listens."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from e2b.envd.process.process_pb import ProcessEvent
from protobuf import Oneof

from e2b_magic.embedded.sandbox.sandbox import ExitStatus
from e2b_magic.embedded.server.events import end_event, start_event
from e2b_magic.embedded.server.output import BACKLOG, PIPE_SIZE, READ_SIZE, Listener, Output


@dataclass
class Pipe:
    """A pipe whose reading end does not block."""

    reading: int
    writing: io.FileIO


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Gives a pipe."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with io.FileIO(writing, "w") as writer:
        yield Pipe(reading, writer)
    os.close(reading)


def _content(event: ProcessEvent | None) -> bytes:
    assert event is not None
    assert isinstance(event.event, Oneof)
    assert isinstance(event.event.value, ProcessEvent.DataEvent)
    assert event.event.value.output is not None
    return event.event.value.output.value


async def test_what_is_written_is_heard_in_order(pipe: Pipe) -> None:
    """A listener gets what is written, and knows the end of it."""
    output = Output({pipe.reading: "stdout"})
    listener = output.listen()
    pipe.writing.write(b"one")
    assert _content(await listener.next(5)) == b"one"
    pipe.writing.write(b"two")
    pipe.writing.close()
    assert _content(await listener.next(5)) == b"two"
    await asyncio.wait_for(output.finished, 5)
    end = end_event(ExitStatus(0, None))
    output.end(end)
    assert await listener.next(5) is end
    assert await listener.next(5) is None


async def test_silence_is_a_timeout_and_loses_nothing(pipe: Pipe) -> None:
    """Waiting in vain raises TimeoutError, and what comes later is heard."""
    listener = Output({pipe.reading: "stdout"}).listen()
    with pytest.raises(TimeoutError):
        await listener.next(0.01)
    pipe.writing.write(b"late")
    assert _content(await listener.next(5)) == b"late"
    listener.close()


async def test_a_slow_listener_slows_the_reading(pipe: Pipe) -> None:
    """While one of two listeners is behind, no more is read than its backlog, and both hear everything in the end."""
    output = Output({pipe.reading: "stdout"})
    quick, slow = output.listen(), output.listen()
    os.set_blocking(pipe.writing.fileno(), False)
    written = 0
    # A full pipe takes nothing, and says None.
    while (taken := pipe.writing.write(bytes(READ_SIZE))) is not None:
        written += taken
        await asyncio.sleep(0.001)
    assert written <= BACKLOG + READ_SIZE + PIPE_SIZE
    pipe.writing.close()

    async def hear(listener: Listener) -> int:
        heard = 0
        while heard < written:
            heard += len(_content(await listener.next(5)))
        return heard

    assert list(await asyncio.gather(hear(quick), hear(slow))) == [written, written]
    output.end()


async def test_without_listeners_everything_is_dropped(pipe: Pipe) -> None:
    """Once its listener has left, a process may write as much as it likes, and nothing is kept."""
    output = Output({pipe.reading: "stdout"})
    output.listen().close()
    for _ in range(100):
        await asyncio.to_thread(pipe.writing.write, bytes(READ_SIZE))
    pipe.writing.write(b"")
    await asyncio.sleep(0.05)
    later = output.listen()
    pipe.writing.write(b"heard")
    assert _content(await later.next(5)) == b"heard"
    output.end()


async def test_draining_ends_even_while_someone_writes(pipe: Pipe) -> None:
    """What lies in the pipe is handed on at once, and no more than a pipe holds."""
    output = Output({pipe.reading: "stdout"})
    listener = output.listen()
    pipe.writing.write(b"left")
    output.drain()
    output.end(start_event(2))
    assert _content(await listener.next(1)) == b"left"


async def test_a_failure_comes_after_what_was_written(pipe: Pipe) -> None:
    """A listener hears what it had yet to hear before the failure is raised."""
    output = Output({pipe.reading: "stdout"})
    listener = output.listen()
    pipe.writing.write(b"last words")
    output.drain()
    output.end(failure=LookupError("gone"))
    assert _content(await listener.next(1)) == b"last words"
    with pytest.raises(LookupError, match="gone"):
        await listener.next(1)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (ExitStatus(0, None), (0, True, "exit status 0", "")),
        (ExitStatus(7, None), (7, True, "exit status 7", "exit status 7")),
        (ExitStatus(None, 9), (-1, False, "signal: killed", "signal: killed")),
        (ExitStatus(None, 15), (-1, False, "signal: terminated", "signal: terminated")),
        (ExitStatus(None, 11), (-1, False, "signal: segmentation fault", "signal: segmentation fault")),
    ],
)
def test_an_end_is_told_in_gos_words(status: ExitStatus, told: tuple[int, bool, str, str]) -> None:
    """The exit code, and the words that E2B's own server has for it."""
    event = end_event(status).event
    assert event is not None
    end = event.value
    assert isinstance(end, ProcessEvent.EndEvent)
    assert (end.exit_code, end.exited, end.status, end.error) == told
