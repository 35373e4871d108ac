"""The verb that runs a command, or answers from the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from e2b_magic.client.background import Job, OnEvent
from e2b_magic.client.history import HistoryVerbs
from e2b_magic.client.options import CommandOptions
from e2b_magic.client.work import Command
from e2b_magic.exceptions import E2BMagicError, InvalidRequestError
from e2b_magic.records import ExecutionResult
from e2b_magic.worker.protocol import Emit


class CommandVerbs(HistoryVerbs):
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
        answer = self._answer(command, on_event, self._here(options, CommandOptions))
        return answer if isinstance(answer, ExecutionResult) else answer.wait()

    async def aexecute_command(
        self, command: str, *, on_event: OnEvent | None = None, **options: Unpack[CommandOptions]
    ) -> ExecutionResult:
        """Does what `execute_command` does; to cancel it ends the command."""
        answer = self._answer(command, on_event, self._here(options, CommandOptions))
        return answer if isinstance(answer, ExecutionResult) else await answer.wait_async()

    def begin_command(
        self, command: str, *, on_event: OnEvent | None = None, **options: Unpack[CommandOptions]
    ) -> ExecutionResult | Job[ExecutionResult]:
        """Gives the stored result of an equal command, or the job that will run it, to be waited for or cancelled.

        Raises:
            InvalidRequestError: The command is empty or an option cannot be meant.
        """
        return self._answer(command, on_event, self._here(options, CommandOptions))

    def _answer(
        self, command: str, on_event: OnEvent | None, options: CommandOptions
    ) -> ExecutionResult | Job[ExecutionResult]:
        asked = self._work.command(command, options)
        hit = self._work.stored(asked)
        if hit is not None:
            return hit.bound(self._rerun)
        return self._submit(lambda emit: self._execute(asked, emit), on_event)

    async def _execute(self, asked: Command, emit: Emit) -> ExecutionResult:
        try:
            return (await self._work.execute(asked, emit)).bound(self._rerun)
        except E2BMagicError as error:
            if error.result is not None:
                error.result.bound(self._rerun)
            raise

    def rerun_execution(
        self,
        execution: str | ExecutionResult,
        *,
        envs: Mapping[str, str] | None = None,
        timeout: float | None = None,
        on_event: OnEvent | None = None,
    ) -> ExecutionResult:
        """Runs a past command once more: the same text, project, directory and user; gives the new result.

        Args:
            execution: The execution, or its id, or the id's last letters.
            envs: The variables that it had, whose values are kept nowhere.
            timeout: Seconds after which it is killed.
            on_event: Called with each piece of output and progress.

        Raises:
            InvalidRequestError: There is no such execution, or it had variables or an input that are not given.
        """
        return self.execute_command(on_event=on_event, **self._again(execution, envs, timeout))

    async def arerun_execution(
        self,
        execution: str | ExecutionResult,
        *,
        envs: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  the same words as in rerun_execution
        on_event: OnEvent | None = None,
    ) -> ExecutionResult:
        """Does what `rerun_execution` does; to cancel it ends the command."""
        return await self.aexecute_command(on_event=on_event, **self._again(execution, envs, timeout))

    def _again(
        self, execution: str | ExecutionResult, envs: Mapping[str, str] | None, timeout: float | None
    ) -> dict[str, Any]:
        """Gives the command and the options with which a past execution is run once more."""
        record = self.get_execution(execution) if isinstance(execution, str) else execution
        if missing := [name for name in record.env_names if name not in (envs or {})]:
            raise InvalidRequestError(
                f"The command had the variables {', '.join(missing)}, whose values are kept nowhere: give them again"
            )
        if record.had_input:
            raise InvalidRequestError("The command had an input, which is kept nowhere: run it anew, with its input")
        where = {name: getattr(record, name) for name in ("command", "project", "cwd", "user")}
        return {**where, "envs": envs, "timeout": timeout, "refresh": True}

    def _rerun(self, record: ExecutionResult, envs: Mapping[str, str] | None = None) -> ExecutionResult:
        return self.rerun_execution(record, envs=envs)
