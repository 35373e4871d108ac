"""`--stdin VAR`: what a command reads of what a variable holds."""

from __future__ import annotations

from typing import Any, cast

from IPython.core.error import UsageError

from e2b_magic.magics.context import Context


def read_variable(context: Context, name: str | None) -> str | bytes | None:
    """Gives what a variable holds as a command's input; None without a name.

    Raises:
        UsageError: There is no such variable, or it holds nothing that a command can read.
    """
    if name is None:
        return None
    if name not in context.namespace:
        raise UsageError(f"--stdin {name}: there is no variable of that name")
    value = context.namespace[name]
    from e2b_magic.records import ExecutionResult

    if isinstance(value, ExecutionResult):
        return value.stdout
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, list | tuple) and all(isinstance(line, str) for line in value):
        return "".join(f"{line}\n" for line in value)  # as `lines = !ls` gives them
    if _is_frame(value):
        return _as_csv(value)
    raise UsageError(
        f"--stdin {name}: a text, bytes, lines, a DataFrame or a result is wanted, not {type(value).__name__}"
    )


def _is_frame(value: object) -> bool:
    # By its names: to import pandas takes a second, and whoever has no DataFrame needs none.
    return type(value).__name__ == "DataFrame" and type(value).__module__.partition(".")[0] == "pandas"


def _as_csv(frame: Any) -> str:
    """Gives a DataFrame as `to_frame()` reads it back: with its index only where that says something."""
    numbered = type(frame.index).__name__ == "RangeIndex" and frame.index.name is None
    return cast("str", frame.to_csv(index=not numbered))
