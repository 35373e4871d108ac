"""What can be made of a command's result: its lines, the data in it, an error, the same command once more, HTML.

`Readable` is the part of `records.ExecutionResult` that computes; the record itself holds the fields.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from e2b_magic.exceptions import CommandError
    from e2b_magic.records import ExecutionResult, Status

    Runner = Callable[[ExecutionResult, Mapping[str, str] | None], ExecutionResult]

HTML_SHOWN: Final = 10_000
"""How many characters of a stream's beginning, and of its end, a notebook's view of a result holds."""

_LAST_WORDS: Final = 200
"""How much of the last line of a command that failed its error holds, in characters."""


class Readable:
    """Reading what a command wrote; the fields are the record's."""

    __slots__ = ()

    stdout: str
    stderr: str
    status: Status
    error: str | None
    truncated: bool
    runner: Runner | None

    @property
    def _record(self) -> ExecutionResult:
        return cast("ExecutionResult", self)

    @property
    def ok(self) -> bool:
        """Whether the command ended with exit code 0."""
        return self.status == "success"

    def lines(self) -> list[str]:
        """Gives the lines of the standard output, without their ends; where its middle was left out, a line says so."""
        return self.stdout.splitlines()

    def json(self) -> Any:
        """Gives the value that the standard output is the JSON text of.

        Raises:
            InvalidRequestError: It is none.
        """
        import json

        from e2b_magic.exceptions import InvalidRequestError

        try:
            return json.loads(self.stdout)
        except ValueError as error:
            raise InvalidRequestError(f"The output is not JSON: {error}{_why(self._record)}") from None

    def csv(self, **options: Any) -> list[dict[str, str]]:
        """Gives the rows of a standard output in CSV, whose first line names the columns.

        Args:
            options: What `csv.DictReader` takes: `delimiter`, `fieldnames` and more.

        Raises:
            InvalidRequestError: Rows are missing, since the output was too long to be kept whole.
        """
        import csv
        import io

        _refuse_gaps(self._record)
        return list(csv.DictReader(io.StringIO(self.stdout, newline=""), **options))

    def to_frame(self, **options: Any) -> Any:
        """Gives a standard output in CSV as a pandas DataFrame.

        Args:
            options: What `pandas.read_csv` takes: `sep`, `index_col`, `dtype` and more.

        Raises:
            ConfigurationError: pandas is not installed.
            InvalidRequestError: The output cannot be read so, or was too long to be kept whole.
        """
        import io

        from e2b_magic.exceptions import ConfigurationError, InvalidRequestError

        try:
            import pandas as pd
        except ImportError:
            raise ConfigurationError("to_frame needs pandas: install it, or use csv(), which gives dicts") from None
        _refuse_gaps(self._record)
        try:
            return pd.read_csv(io.StringIO(self.stdout), **options)
        except ValueError as error:  # which pandas derives its errors from
            said = str(error).splitlines()[0]
            raise InvalidRequestError(f"The output is not CSV: {said}{_why(self._record)}") from None

    def check(self) -> ExecutionResult:
        """Gives the result back when the command succeeded.

        Raises:
            CommandError: It did not; the class says how it ended, the text what it wrote last to standard error,
                `result` is this.
        """
        if self.ok:
            return self._record
        raise failure_of(self._record, last_words(self.stderr))

    def rerun(self, envs: Mapping[str, str] | None = None) -> ExecutionResult:
        """Runs the same command once more, in the same project, and gives the new result.

        Args:
            envs: The variables that it had, whose values are kept nowhere.

        Raises:
            InvalidRequestError: The command had variables that are not given, or no client gave this result.
        """
        from e2b_magic.exceptions import InvalidRequestError

        if self.runner is None:
            raise InvalidRequestError("This result came from no client: use client.rerun_execution(result.id)")
        return self.runner(self._record, envs)

    def _repr_html_(self) -> str:
        """Gives one line, and the output folded below it: it has been shown when it came."""
        line = f"<code>{html.escape(repr(self)[1:-1])}</code>"
        told = (("stdout", self.stdout), ("stderr", self.stderr))
        streams = "".join(_stream(text, name, gap=_has_gap(self._record, text)) for name, text in told if text)
        return f"<details><summary>{line}</summary>{streams}</details>" if streams else line


def failure_of(result: ExecutionResult, why: str = "") -> CommandError:
    """Gives the error that stands for a command that did not succeed.

    Args:
        result: Its result.
        why: What its text is to end in, for whoever has not seen what the command wrote.
    """
    from e2b_magic.exceptions import CommandError, CommandFailedError, CommandInterruptedError, CommandTimeoutError

    kinds = {"failed": CommandFailedError, "timeout": CommandTimeoutError, "interrupted": CommandInterruptedError}
    kind: type[CommandError] = kinds.get(result.status, CommandError)
    text = result.error or f"The command has not succeeded: it is {result.status}"
    return kind(f"{text}: {why}" if why else text, result)


def last_words(text: str) -> str:
    """Gives the last line that a command wrote, without colours and as far as an error can hold it."""
    from e2b_magic.terminal import one_line, plain

    return one_line(plain(text.strip().rpartition("\n")[2]))[:_LAST_WORDS]


def _stream(text: str, name: str, *, gap: bool) -> str:
    from e2b_magic.colours import to_html
    from e2b_magic.output import OutputBuffer

    buffer = OutputBuffer(HTML_SHOWN)
    buffer.append(text)
    kept = f"more of it is in .{name}, and its middle was not kept" if gap else f"the whole of it is in .{name}"
    rest = f"<em>{kept}</em>" if buffer.truncated else ""
    border = ' style="border-left:3px solid #e75c58;padding-left:5px"' if name == "stderr" else ""
    return f"<pre{border}>{to_html(buffer.text())}</pre>{rest}"


def _has_gap(result: ExecutionResult, text: str) -> bool:
    """Whether it is this one of a result's streams that was cut, or lost, and not the other alone."""
    from e2b_magic.output import HALF

    return result.truncated and not 0 < len(text) <= 2 * HALF


def _refuse_gaps(result: ExecutionResult) -> None:
    # Rows that are missing from a table are seen by nobody, and a sum over the rest is wrong.
    from e2b_magic.exceptions import InvalidRequestError

    if _has_gap(result, result.stdout):
        raise InvalidRequestError(
            "Rows are missing: the output was too long to be kept, and its middle was left out. Write it to a file in "
            "the sandbox (… > rows.csv), and bring that here: %e2b get rows.csv, or client.download"
        )


def _why(result: ExecutionResult) -> str:
    return "; its middle was left out, since it was too long to be kept" if result.truncated else ""
