"""An observable command: what it wrote so far and how it ended, as traits that widgets can be bound to.

`run` returns at once. The command runs on the client's own loop, and that is where the traits change and observers
are called: they may assign to widgets, whatever cell runs meanwhile, and must not wait for anything. Output that
comes faster than eyes read is gathered, so that the traits change `INTERVAL` apart at least.

    executor = Executor()
    bar = ipywidgets.Label()
    executor.observe(lambda change: setattr(bar, "value", executor.stdout[-80:]), "stdout")
    executor.run("npm test")
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Unpack

from traitlets import Bool, HasTraits, Instance, Int, Tuple, Unicode

from e2b_magic.client.background import Job, settled
from e2b_magic.client.options import CommandOptions, checked
from e2b_magic.client.shared import shared_client
from e2b_magic.client.transcript import Transcript
from e2b_magic.exceptions import CommandFailedError, CommandInterruptedError, InvalidRequestError
from e2b_magic.interrupts import deferred
from e2b_magic.output import OutputBuffer
from e2b_magic.records import ExecutionResult
from e2b_magic.worker.protocol import Event, Output, Progress

if TYPE_CHECKING:
    from e2b_magic.client.client import Client

INTERVAL: Final = 0.05
"""The shortest time between two changes of the output's traits, in seconds."""
SHOWN: Final = 64 * 1024
"""How many characters `stdout`, `stderr` and `output` each hold; the result has more."""


class Executor(HasTraits):
    """Runs one command at a time and tells how it gets on.

    Args:
        client: Whose sandboxes to use; the kernel's client when left out.

    Attributes:
        running: Whether a command runs.
        result: The last command's record; None while one runs, and when there is none.
        error: What went wrong, as an exception whose text is one line; None when nothing did.
        stdout: What the command wrote to its standard output so far; the beginning and the end of a long one.
        stderr: The same of its standard error.
        output: The end of both, as `Output` pieces in the order in which they came.
        dropped: How many characters came before `output`.
        progress: The latest line on how the work gets on.
    """

    running = Bool(False)
    result = Instance(ExecutionResult, allow_none=True)
    error = Instance(Exception, allow_none=True)
    stdout = Unicode()
    stderr = Unicode()
    output = Tuple()
    dropped = Int()
    progress = Unicode()

    def __init__(self, client: Client | None = None) -> None:
        super().__init__()
        self._client = client or shared_client()
        self._begin = threading.RLock()  # an observer of `running` may start the next command
        self._job: Job[ExecutionResult] | None = None
        self._following: Future[None] | None = None
        self._forget()

    def _forget(self) -> None:
        self._buffers = {"stdout": OutputBuffer(SHOWN // 2), "stderr": OutputBuffer(SHOWN // 2)}
        self._transcript = Transcript(SHOWN)
        self._progress = ""
        self._flushed = 0.0
        self._flush: asyncio.TimerHandle | None = None

    def run(self, command: str, **options: Unpack[CommandOptions]) -> None:
        """Starts a command and returns; a stored result is there at once.

        Args:
            command: The text that `bash -l -c` runs.
            options: See `CommandOptions`.

        Raises:
            InvalidRequestError: A command runs already, the command is empty or an option cannot be meant.
        """
        checked(options, CommandOptions, self._client.project)
        with self._begin:
            if self.running:
                raise InvalidRequestError("A command runs here already: cancel it, or use another Executor")
            answer = self._client.begin_command(command, on_event=self._take, **options)
            with deferred():  # else it might be running for good, with nobody who follows it
                self._show_anew(answer)

    def _show_anew(self, answer: ExecutionResult | Job[ExecutionResult]) -> None:
        self._forget()
        self._show()
        self.set(result=None, error=None)
        if isinstance(answer, ExecutionResult):
            self._end(answer)
        else:
            self._begin_following(answer)

    def _begin_following(self, job: Job[ExecutionResult]) -> None:
        self._job = job
        self.running = True
        try:
            self._following = self._client.in_background(lambda: self._follow(job))
        except BaseException:
            self.running = False
            raise

    def cancel(self) -> None:
        """Ends the command and its children, without waiting for that; `running` tells when it is over."""
        if (job := self._job) is not None and self.running:

            async def cancel() -> None:
                job.cancel()

            self._client.in_background(cancel)

    def wait(self, timeout: float | None = None) -> ExecutionResult | None:
        """Waits for the command's end and gives its record; None when it has none.

        Args:
            timeout: The longest to wait, in seconds.

        Raises:
            TimeoutError: It still runs; it goes on.
        """
        if self._following is not None:
            if not settled(self._following, timeout):
                raise TimeoutError
            with suppress(CancelledError):  # the client was closed: the traits tell it
                self._following.result()
        return self.result

    def set(self, **values: Any) -> None:
        """Gives several traits their values as one change."""
        with self.hold_trait_notifications():
            for name, value in values.items():
                setattr(self, name, value)

    async def _follow(self, job: Job[ExecutionResult]) -> None:
        result: ExecutionResult | None = None
        error: Exception | None = None
        try:
            result = await job.wait_async()
        except asyncio.CancelledError:
            self._end(None, CommandInterruptedError("The command was interrupted and killed"))
            raise
        except Exception as failure:  # noqa: BLE001  it is what `error` is for
            error = failure
        self._end(result, error)

    def _end(self, result: ExecutionResult | None, error: Exception | None = None) -> None:
        if self._flush is not None:
            self._flush.cancel()
        result = result or getattr(error, "result", None)
        if result is not None and result.cached:
            self._take_in(result)
        self._show()
        if error is None and result is not None and not result.ok:
            error = CommandFailedError(result.error or f"The command ended as {result.status}", result)
        self._job = None
        self.set(result=result, error=error, running=False)

    def _take_in(self, result: ExecutionResult) -> None:
        for stream, text in (("stdout", result.stdout), ("stderr", result.stderr)):
            self._note(Output("stdout" if stream == "stdout" else "stderr", text))

    def _note(self, event: Output) -> None:
        self._buffers[event.stream].append(event.text)
        self._transcript.append(event.stream, event.text)

    def _take(self, event: Event) -> None:
        if isinstance(event, Output):
            self._note(event)
        elif isinstance(event, Progress):
            self._progress = event.text
        else:
            return
        if self._flush is None:
            wait = self._flushed + INTERVAL - time.monotonic()
            self._flush = asyncio.get_running_loop().call_later(max(0.0, wait), self._show)

    def _show(self) -> None:
        self._flush = None
        self._flushed = time.monotonic()
        self.set(
            stdout=self._buffers["stdout"].text(),
            stderr=self._buffers["stderr"].text(),
            output=self._transcript.pieces(),
            dropped=self._transcript.dropped,
            progress=self._progress,
        )
