"""One sitting at a shell of the sandbox, in this process's own terminal.

The terminal is raw while the shell runs, so that every key goes there, Ctrl-C too. One thread writes what the shell
shows; the main thread reads the keys, and tells of a new size. Ctrl-] leaves, should the shell not listen any more.
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from e2b_magic.exceptions import E2BMagicError, InvalidRequestError
from e2b_magic.magics.context import Context

LEAVE: Final = b"\x1d"
"""Ctrl-], as with telnet."""
_READ: Final = 16 * 1024
_ENDING: Final = 3.0


class Sitting:
    """One sitting at a shell."""

    def __init__(self, context: Context, arguments: argparse.Namespace) -> None:
        self._client = context.client
        self._project = arguments.project or self._client.project
        self._options = {"cwd": arguments.cwd, "user": arguments.user, "project": self._project}
        self._terminal = uuid.uuid4().hex
        self._open = threading.Event()
        self._wake_end, self._wake_up = os.pipe()
        self._outcome: int | BaseException = 0

    def run(self) -> int:
        """Gives the shell's exit code."""
        thread = threading.Thread(target=self._follow, name="e2b-magic-shell", daemon=True)
        try:
            with _raw(sys.stdin.fileno()), self._watching_size():
                thread.start()
                self._read_keys()
        finally:
            if thread.is_alive():
                with suppress(E2BMagicError):  # it has just ended by itself, or its sandbox has
                    self._client.close_terminal(self._terminal, self._project)
                thread.join(_ENDING)
            os.close(self._wake_end)
            os.close(self._wake_up)
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def _follow(self) -> None:
        size = shutil.get_terminal_size()
        try:
            self._outcome = self._client.run_terminal(
                self._terminal, self._show, rows=size.lines, columns=size.columns, **self._options
            )
        except BaseException as error:  # noqa: BLE001  raised in the main thread, whatever it is
            self._outcome = error
        finally:
            os.write(self._wake_up, b"e")

    def _show(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
        self._open.set()

    def _read_keys(self) -> None:
        keys = sys.stdin.fileno()
        while True:
            # What is typed before the shell is there waits in the terminal's own buffer.
            watched = [keys, self._wake_end] if self._open.is_set() else [self._wake_end]
            ready, _, _ = select.select(watched, [], [], None if self._open.is_set() else 0.05)
            if self._wake_end in ready:
                if b"e" in os.read(self._wake_end, 100):
                    return
                self._resize()
            if keys in ready:
                typed = os.read(keys, _READ)
                if not typed or LEAVE in typed:
                    return
                with suppress(InvalidRequestError):  # the shell has just ended: the next round sees it
                    self._client.send_input(self._terminal, typed, self._project)

    def _resize(self) -> None:
        size = shutil.get_terminal_size()
        with suppress(InvalidRequestError):
            self._client.resize_terminal(self._terminal, size.lines, size.columns, self._project)

    @contextmanager
    def _watching_size(self) -> Iterator[None]:
        before = signal.signal(signal.SIGWINCH, lambda *_: os.write(self._wake_up, b"s"))
        try:
            yield
        finally:
            signal.signal(signal.SIGWINCH, before)


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """Makes a terminal raw; it is as it was at the end, whatever happens."""
    import termios
    import tty

    before: Any = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
