"""The end of a connection whose client has been answered, while it may still be sending."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2b_magic.embedded.egress import relay
from e2b_magic.embedded.egress.streams import Plain

MEBIBYTE = 1024 * 1024


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Gives the client's end of a connection by TCP, and the proxy's."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname(), 20)
        proxy, _ = listening.accept()
    with client, proxy:
        proxy.setblocking(False)
        yield client, proxy


async def test_who_still_sends_much_hears_the_answer(ends: tuple[socket.socket, socket.socket]) -> None:
    """A client that looks for its answer when it has sent all, more than any buffer holds, is not reset before."""
    client, proxy = ends

    def speak() -> bytes:
        client.sendall(bytes(64 * MEBIBYTE))
        return client.recv(100)

    with ThreadPoolExecutor() as threads:
        speaking = threads.submit(speak)
        proxy.send(b"answer")
        await relay.say_goodbye(Plain(proxy))
        assert await asyncio.wrap_future(speaking) == b"answer"


async def test_who_never_ends_is_cut(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that sends for ever is waited for as long as a farewell takes, and others are served meanwhile."""
    monkeypatch.setattr(relay, "_FAREWELL", 0.3)
    client, proxy = ends
    cut = threading.Event()

    def speak() -> None:
        try:
            while True:
                client.sendall(bytes(MEBIBYTE))
        except ConnectionError:
            cut.set()

    with ThreadPoolExecutor() as threads:
        threads.submit(speak)
        farewell = asyncio.create_task(relay.say_goodbye(Plain(proxy)))
        turns = 0
        while not farewell.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert cut.wait(10)
        assert turns > 3
