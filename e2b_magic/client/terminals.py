"""The verbs of a terminal: one waits for the shell's end, the others are called meanwhile, from other threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from e2b_magic.client.options import Where
from e2b_magic.client.verbs import Verbs
from e2b_magic.worker.protocol import Event, Output
from e2b_magic.worker.requests.base import Request
from e2b_magic.worker.requests.terminals import CloseTerminal, OpenTerminal, ResizeTerminal, SendInput


class TerminalVerbs(Verbs):
    """Sitting at a shell."""

    def run_terminal(
        self,
        terminal: str,
        on_output: Callable[[str], None],
        *,
        rows: int = 24,
        columns: int = 80,
        cwd: str | None = None,
        **options: Unpack[Where],
    ) -> int:
        """Runs a login shell on a terminal in the sandbox, and gives its exit code when it ends.

        Args:
            terminal: An id of the caller's choice, by which the other verbs name it.
            on_output: Called, in the thread that called, with what the terminal shows; the first call says that it is
                open.
            rows: The terminal's height, in characters.
            columns: Its width, in characters.
            cwd: The working directory; the user's home when left out.
            options: See `Where`.

        Raises:
            InvalidRequestError: A terminal of that id is open.
            BackendError: The sandbox ended or could not be had.
        """

        def show(event: Event) -> None:
            if isinstance(event, Output):
                on_output(event.text)

        here = self._here(options, Where)
        target = self._work.target(here)
        request = OpenTerminal(**target, terminal=terminal, rows=rows, columns=columns, cwd=cwd, user=here.get("user"))
        try:
            exit_code: int = self._submit(lambda emit: self._work.call(request, emit), show).wait()["exit_code"]
        finally:
            # Whatever was done at the shell: older cached results no longer hold.
            self._recorder.touch(request.project_id)
        return exit_code

    def send_input(self, terminal: str, content: bytes, project: str | None = None) -> None:
        """Types something.

        Raises:
            InvalidRequestError: There is no such terminal, or not any more.
        """
        self._tell(
            SendInput(**self._work.target({"project": project or self.project}), terminal=terminal, content=content)
        )

    def resize_terminal(self, terminal: str, rows: int, columns: int, project: str | None = None) -> None:
        """Gives a terminal another size, in characters.

        Raises:
            InvalidRequestError: There is no such terminal, or not any more.
        """
        target = self._work.target({"project": project or self.project})
        self._tell(ResizeTerminal(**target, terminal=terminal, rows=rows, columns=columns))

    def close_terminal(self, terminal: str, project: str | None = None) -> None:
        """Hangs up.

        Raises:
            InvalidRequestError: There is no such terminal, or not any more.
        """
        self._tell(CloseTerminal(**self._work.target({"project": project or self.project}), terminal=terminal))

    def _tell(self, request: Request) -> None:
        self._submit(lambda emit: self._work.call(request, emit)).wait()
