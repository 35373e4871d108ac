"""A session in a real kernel with the magics loaded: its cells, its stop button, its Tab."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

from e2b_magic.embedded import runtime
from tests.magics.kernels import Messages, environment_in, execute, published


@dataclass(frozen=True)
class Session:
    """A kernel with the magics loaded.

    Attributes:
        manager: Its process.
        client: The way to it.
    """

    manager: KernelManager
    client: BlockingKernelClient

    def run(self, code: str) -> Messages:
        """Runs a cell and gives what it published."""
        return execute(self.client, code)

    def interrupt(self, code: str, after: float) -> tuple[Messages, float]:
        """Begins a cell and presses the stop button; gives what it published, and how long it took then to end.

        Args:
            code: The cell.
            after: When the button is pressed, in seconds after the cell began.
        """
        coming = published(self.client, self.client.execute(code))
        messages = [next(coming)]
        while messages[-1]["msg_type"] != "execute_input":  # before that a signal finds no cell, and is not felt
            messages.append(next(coming))
        time.sleep(after)
        began = time.monotonic()
        self.manager.interrupt_kernel()
        messages.extend(coming)
        return messages, time.monotonic() - began

    def complete(self, code: str) -> list[str]:
        """Gives what Tab offers at a text's end."""
        ask: Any = self.client.complete
        matches: list[str] = ask(code, len(code), reply=True, timeout=30)["content"]["matches"]
        return matches


def errors(messages: Messages) -> list[str]:
    """Gives the names of the errors that a cell ended in: one, or none."""
    return [message["content"]["ename"] for message in messages if message["msg_type"] == "error"]


@contextmanager
def session_in(directory: Path) -> Iterator[Session]:
    """Gives a session without a sandbox yet, whose files lie in a directory; its server is ended with it."""
    start: Any = start_new_kernel  # without annotations in jupyter_client
    manager, client = start(kernel_name="python3", env=environment_in(directory / "e2b-magic"))
    session = Session(manager, client)
    try:
        session.run("%load_ext e2b_magic")
        yield session
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        runtime.stop(directory / "e2b-magic" / "embedded")
