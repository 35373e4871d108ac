"""The verb that runs a command, or answers from the store."""

from __future__ import annotations

from typing import Unpack

from e2b_magic.client.background import Job, OnEvent
from e2b_magic.client.options import CommandOptions
from e2b_magic.client.verbs import Verbs
from e2b_magic.records import ExecutionResult


class CommandVerbs(Verbs):
    """Running commands."""

    def execute_command(
        self, command: str, *, on_event: OnEvent | None = None, **options: Unpack[CommandOptions]
    ) -> ExecutionResult:
        """Runs a command in the project's sandbox, or gives the stored result of an equal one.

        Args:
            command: The text that `bash -l -c` runs.
            on_event: Called with each piece of output and progress; a stored result has none.
            options: See `CommandOptions`.

        Raises:
            InvalidRequestError: The command is empty or an option cannot be meant.
            CommandTimeoutError: It ran longer than `timeout`; its record is in `result`.
            BackendError: The sandbox ended or could not be had; a record is in `result`.
            KeyboardInterrupt: It was interrupted: it and its children are ended, its record is in the history.
        """
        answer = self.begin_command(command, on_event=on_event, **self._here(options, CommandOptions))
        return answer if isinstance(answer, ExecutionResult) else answer.wait()

    async def aexecute_command(
        self, command: str, *, on_event: OnEvent | None = None, **options: Unpack[CommandOptions]
    ) -> ExecutionResult:
        """Does what `execute_command` does; to cancel it ends the command."""
        answer = self.begin_command(command, on_event=on_event, **self._here(options, CommandOptions))
        return answer if isinstance(answer, ExecutionResult) else await answer.wait_async()

    def begin_command(
        self, command: str, *, on_event: OnEvent | None = None, **options: Unpack[CommandOptions]
    ) -> ExecutionResult | Job[ExecutionResult]:
        """Gives the stored result of an equal command, or the job that will run it, to be waited for or cancelled.

        Raises:
            InvalidRequestError: The command is empty or an option cannot be meant.
        """
        work, request = self._work, self._work.command(command, self._here(options, CommandOptions))
        hit = work.stored(request, options)
        return hit or self._submit(lambda emit: work.execute(request, options, emit), on_event)
