"""The output of a process, from a pipe to whoever listens."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator

import pytest
from e2b.envd.process.process_pb import ProcessEvent
from protobuf import Oneof

from e2b_magic.embedded.events import end_event, start_event
from e2b_magic.embedded.output import BACKLOG, PIPE_SIZE, READ_SIZE, Listener, Output
from e2b_magic.embedded.sandbox import ExitStatus

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Callable[[], Pipe]]:
    """Gives a maker of pipes, whose reading end does not block."""
    made: list[int] = []

    def make() -> Pipe:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        made.extend((reading, writing))
        return reading, writing

    yield make
    for descriptor in made:
        try:
            os.close(descriptor)
        except OSError:
            continue  # the test closed it


def _content(event: ProcessEvent | None) -> bytes:
    assert event is not None
    assert isinstance(event.event, Oneof)
    assert isinstance(event.event.value, ProcessEvent.DataEvent)
    assert event.event.value.output is not None
    return event.event.value.output.value


async def test_what_is_written_is_heard_in_order(pipe: Callable[[], Pipe]) -> None:
    """A listener gets what is written, and knows the end of it."""
    reading, writing = pipe()
    output = Output({reading: "stdout"})
    listener = output.listen()
    os.write(writing, b"one")
    assert _content(await listener.next(5)) == b"one"
    os.write(writing, b"two")
    os.close(writing)
    assert _content(await listener.next(5)) == b"two"
    await asyncio.wait_for(output.finished, 5)
    end = end_event(ExitStatus(0, None))
    output.end(end)
    assert await listener.next(5) is end
    assert await listener.next(5) is None


async def test_silence_is_a_timeout_and_loses_nothing(pipe: Callable[[], Pipe]) -> None:
    """Waiting in vain raises TimeoutError, and what comes later is heard."""
    reading, writing = pipe()
    listener = Output({reading: "stdout"}).listen()
    with pytest.raises(TimeoutError):
        await listener.next(0.01)
    os.write(writing, b"late")
    assert _content(await listener.next(5)) == b"late"
    listener.close()


async def test_a_slow_listener_slows_the_reading(pipe: Callable[[], Pipe]) -> None:
    """While one of two listeners is behind, no more is read than its backlog, and both hear everything in the end."""
    reading, writing = pipe()
    output = Output({reading: "stdout"})
    quick, slow = output.listen(), output.listen()
    os.set_blocking(writing, False)
    written = 0
    with contextlib.suppress(BlockingIOError):
        while written < 10 * PIPE_SIZE:
            written += os.write(writing, bytes(READ_SIZE))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    assert written <= BACKLOG + READ_SIZE + PIPE_SIZE
    os.close(writing)

    async def hear(listener: Listener) -> int:
        heard = 0
        while heard < written:
            heard += len(_content(await listener.next(5)))
        return heard

    assert list(await asyncio.gather(hear(quick), hear(slow))) == [written, written]
    output.end()


async def test_without_listeners_everything_is_dropped(pipe: Callable[[], Pipe]) -> None:
    """Once its listener has left, a process may write as much as it likes, and nothing is kept."""
    reading, writing = pipe()
    output = Output({reading: "stdout"})
    output.listen().close()
    for _ in range(100):
        await asyncio.to_thread(os.write, writing, bytes(READ_SIZE))
    os.write(writing, b"")
    await asyncio.sleep(0.05)
    later = output.listen()
    os.write(writing, b"heard")
    assert _content(await later.next(5)) == b"heard"
    output.end()


async def test_draining_ends_even_while_someone_writes(pipe: Callable[[], Pipe]) -> None:
    """What lies in the pipe is handed on at once, and no more than a pipe holds."""
    reading, writing = pipe()
    output = Output({reading: "stdout"})
    listener = output.listen()
    os.write(writing, b"left")
    output.drain()
    output.end(start_event(2))
    assert _content(await listener.next(1)) == b"left"


async def test_a_failure_comes_after_what_was_written(pipe: Callable[[], Pipe]) -> None:
    """A listener hears what it had yet to hear before the failure is raised."""
    reading, writing = pipe()
    output = Output({reading: "stdout"})
    listener = output.listen()
    os.write(writing, b"last words")
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
