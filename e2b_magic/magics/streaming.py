"""A command's output on its way into the cell that asked for it.

`Printer` takes the client's events, in the thread that runs the cell, so that what it writes lands there. Each stream
is cleaned (`terminal`) and bounded: a notebook that holds a gigabyte does not open again. Past `SHOWN` characters the
rest is only remembered by its beginning and its end, which are shown when the command is over.
"""

from __future__ import annotations

import sys
from typing import Final, Literal, TextIO

from e2b_magic.output import OutputBuffer
from e2b_magic.records import ExecutionResult
from e2b_magic.terminal import Cleaner, one_line
from e2b_magic.worker.protocol import Event, Output, Progress

SHOWN: Final = 1024 * 1024
"""How many characters of each stream a cell shows as they come."""
AFTER: Final = 16 * 1024
"""How many more it shows, when the command is over, of what came next, and of the end."""

Name = Literal["stdout", "stderr"]


class Printer:
    """Shows one command's events.

    Args:
        quiet: Show nothing at all.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._streams: dict[Name, _Stream] = {"stdout": _Stream("stdout"), "stderr": _Stream("stderr")}
        self._last: Name | None = None

    def __call__(self, event: Event) -> None:
        """Shows an event."""
        if self._quiet:
            return
        if isinstance(event, Output):
            self._turn_to(event.stream)
            self._streams[event.stream].show(event.text)
        elif isinstance(event, Progress):
            # A notebook shows the standard error in red, as if something had gone wrong.
            name: Name = "stdout" if is_kernels(sys.stdout) else "stderr"
            self._turn_to(name)
            self._streams[name].tell(event.text)

    def replay(self, result: ExecutionResult) -> None:
        """Shows a stored result's output."""
        if result.stdout:
            self(Output("stdout", result.stdout))
        if result.stderr:
            self(Output("stderr", result.stderr))

    def finish(self, *, interrupted: bool = False) -> None:
        """Shows what is left; to be called however the command ended.

        Args:
            interrupted: A terminal has put `^C` on the line, in which it stands now.
        """
        for name, stream in self._streams.items():
            if stream.pending:
                self._turn_to(name)
                stream.finish()
        last = self._streams[self._last or "stdout"]
        last.end_line(interrupted=interrupted)
        last.target.flush()

    def _turn_to(self, name: Name) -> None:
        if self._last not in (None, name):
            # Two buffered streams keep their order only if one is emptied before the other is written to.
            self._streams[self._last or name].target.flush()
        self._last = name


class _Stream:
    """One of the two streams: how much of it was shown, and what is kept for the end."""

    def __init__(self, name: Name) -> None:
        self._name: Name = name
        self._cleaner = Cleaner()
        self._room = SHOWN
        self._rest: OutputBuffer | None = None
        self._at_line_start = True

    @property
    def target(self) -> TextIO:
        """Where it is written; looked up each time, since %%capture and redirect_stdout put another object there."""
        return sys.stdout if self._name == "stdout" else sys.stderr

    @property
    def pending(self) -> bool:
        """Whether there may be something to show at the end."""
        return self._rest is not None or self._cleaner.holds

    def show(self, text: str) -> None:
        """Shows a piece, or keeps it for the end."""
        shown, over = text[: self._room], text[self._room :]
        self._room -= len(shown)
        if shown:
            self._write(self._cleaner.feed(shown))
        if over:
            if self._rest is None:
                self._rest = OutputBuffer(AFTER)
                self.tell(f"[more than {SHOWN:,} characters: the rest is shown, shortened, when the command is over]")
            self._rest.append(over)

    def tell(self, text: str) -> None:
        """Shows a line of our own, dim, so that nobody takes it for the command's."""
        line = one_line(text)
        start = "" if self._at_line_start else "\n"
        if is_kernels(self.target):  # a notebook knows no dim, but grey
            line = f"\x1b[90m{line}\x1b[39m"
        elif self.target.isatty():
            line = f"\x1b[2m{line}\x1b[22m"
        self._write(f"{start}{line}\n")

    def finish(self) -> None:
        """Shows what was kept."""
        rest = self._rest.text() if self._rest else ""
        self._rest = None
        self._write(self._cleaner.feed(rest) + self._cleaner.end())

    def end_line(self, *, interrupted: bool) -> None:
        """Goes on to the next line in a terminal, so that what IPython shows next begins one."""
        if self.target.isatty() and (interrupted or not self._at_line_start):
            self._write("\n")

    def _write(self, text: str) -> None:
        if not text:
            return
        self._at_line_start = text.endswith("\n")
        target = self.target
        target.write(text)
        # A kernel's stream sends what it has every 0.2 s by itself, and would make one message of each flush.
        if not is_kernels(target):
            target.flush()


def is_kernels(stream: TextIO) -> bool:
    """Whether a stream leads to a notebook's cell."""
    return hasattr(stream, "flush_interval")  # ipykernel.iostream.OutStream, not imported to be asked
