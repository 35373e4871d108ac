"""A terminal in the sandbox, and a look in passing, with the worker here and behind a Jupyter server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from e2b_magic.client import Client

pytestmark = pytest.mark.sandbox


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Gives a thread in which somebody sits at the terminal."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _sit(client: Client, pool: ThreadPoolExecutor, terminal: str) -> tuple[list[str], Future[int]]:
    shown: list[str] = []
    sitting = pool.submit(client.run_terminal, terminal, shown.append, rows=30, columns=100)
    _until(lambda: bool(shown) or sitting.done())
    return shown, sitting


def test_a_terminal_is_typed_at_and_resized(client: Client, pool: ThreadPoolExecutor) -> None:
    """What is typed runs, at the size that the terminal was given and then at another; the shell's exit code comes."""
    shown, sitting = _sit(client, pool, "typed")
    client.send_input("typed", b"echo $((6*7)); stty size\n")
    _until(lambda: "42\r\n30 100\r\n" in "".join(shown))
    client.resize_terminal("typed", 20, 77)
    client.send_input("typed", b"stty size\n")
    _until(lambda: "20 77\r\n" in "".join(shown))
    client.send_input("typed", b"exit 3\n")
    assert sitting.result(60) == 3


def test_hanging_up_ends_the_shell(client: Client, pool: ThreadPoolExecutor) -> None:
    """A terminal that is closed takes its shell along."""
    _, sitting = _sit(client, pool, "closed")
    client.close_terminal("closed")
    sitting.exception(60)
    assert sitting.done()


def test_a_directory_is_peeked_at(client: Client) -> None:
    """The names in a directory of a sandbox that runs are given, directories' with a slash."""
    client.execute_command("mkdir -p peeked/inner && touch peeked/file", use_cache=False)
    assert sorted(client.peek_directory("peeked", wait=60)) == ["file", "inner/"]
